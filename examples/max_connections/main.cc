// weir-max-connections: an echo server with a limited number of places.
//
// A client that finds no place gets a message and an orderly close. The number of such clients is
// limited, too: further ones are closed right after accept, which costs nearly nothing. One address
// cannot take all places. Connections are accepted at a limited rate; the others wait in the
// kernel.

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// Connections beyond the places, for clients that get the message that all places are taken.
constexpr std::size_t kRejectedAtOnce = 16;

// Runs on one loop, so a plain integer can count.
class LimitedEcho final : public weir::ConnectionHandler {
 public:
  explicit LimitedEcho(std::size_t places) : places_(places) {}

  void on_open(weir::TcpConnection& conn) override {
    if (taken_ == places_) {
      conn.send(fmt::format("* all {} places are taken, come back later\n", places_));
      conn.close();  // sends the message first, then waits 1 s for the client to close
      return;
    }
    ++taken_;
    conn.set_context<Place>();
    conn.send(fmt::format("* welcome, {} of {} places are taken\n", taken_, places_));
  }

  void on_data(weir::TcpConnection& conn, weir::Buffer& in) override { conn.send(in); }

  void on_close(weir::TcpConnection& conn, weir::CloseReason) override {
    if (conn.context<Place>() != nullptr) --taken_;
  }

 private:
  struct Place {};  // the context of clients that have one

  const std::size_t places_;
  std::size_t taken_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  std::size_t places = 100;
  weir::TcpServer::Options options{.max_connections_per_peer = 10,
                                   .max_accept_rate = 100,
                                   .idle_timeout = std::chrono::seconds(300),
                                   .linger_timeout = std::chrono::seconds(1)};
  CLI::App app("An echo server with a limited number of places.", "weir-max-connections");
  sample::listen_option(app, listen);
  const auto number = [&app](const char* name, std::size_t& value, const char* what,
                             std::size_t least) {
    weir::program::number_option(app, name, value, least, 1'000'000, "N", what);
  };
  number("--places", places, "clients at a time; others get a message and are closed", 1);
  number("--per-peer", options.max_connections_per_peer,
         "connections of one IPv4 address or IPv6 /64; 0: no limit", 0);
  number("--accept-rate", options.max_accept_rate, "connections accepted a second; 0: no limit", 0);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] {
    options.max_connections = places + kRejectedAtOnce;
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<LimitedEcho>(places));
    return weir::serve(loop, server, listen);
  });
}
