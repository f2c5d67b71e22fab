// bench_udp-asio: standalone Asio with handlers, as in its example of an asynchronous UDP echo
// server: receives one datagram, sends it back, then receives the next.
#include <asio.hpp>
#include <csignal>
#include <memory>

#include "rivals/settings.h"

namespace {

using asio::ip::udp;

class Server {
 public:
  Server(asio::io_context& context, const rival::Settings& settings)
      : socket_(context, udp::endpoint(asio::ip::address_v4(ntohl(settings.listen.sin_addr.s_addr)),
                                       ntohs(settings.listen.sin_port))),
        data_(std::make_unique_for_overwrite<char[]>(rival::kBlock)) {
    rival::announce(socket_.native_handle());
    receive();
  }

 private:
  void receive() {
    socket_.async_receive_from(asio::buffer(data_.get(), rival::kBlock), sender_,
                               [this](std::error_code error, std::size_t n) {
                                 if (error) {
                                   receive();
                                 } else {
                                   answer(n);
                                 }
                               });
  }
  void answer(std::size_t n) {
    socket_.async_send_to(asio::buffer(data_.get(), n), sender_,
                          [this](std::error_code, std::size_t) { receive(); });
  }

  udp::socket socket_;
  udp::endpoint sender_;
  const std::unique_ptr<char[]> data_;
};

int serve(const rival::Settings& settings) {
  try {
    asio::io_context context(1);  // a hint: one thread runs it
    asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](std::error_code, int) { context.stop(); });
    Server server(context, settings);
    context.run();
    return 0;
  } catch (const std::system_error& error) {
    rival::give_up("asio", error.code().value());
  }
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, RIVAL_NAME, serve); }
