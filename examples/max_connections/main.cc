// weir-max-connections: an echo with a number of places.
//
// What it takes care of: who finds no place is told so and closed in order; those who are told are
// bounded, too, and beyond them a client is closed unseen, which costs nearly nothing; one address
// cannot take all places; a rush is let in at a bounded rate and waits in the kernel meanwhile.

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

// Connections beyond the places, for those who are told that there is none.
constexpr std::size_t kAtTheDoor = 16;

// On one loop, so that a plain number counts.
class House final : public weir::ConnectionHandler {
 public:
  explicit House(std::size_t places) : places_(places) {}

  void on_open(weir::TcpConnection& conn) override {
    if (taken_ == places_) {
      conn.send(fmt::format("* all {} places are taken, come back later\n", places_));
      conn.close();  // sends that first, and waits a little for the client's end
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
  struct Place {};  // the mark of those who have one

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
  CLI::App app("An echo with a number of places.", "weir-max-connections");
  sample::listen_option(app, listen);
  const auto number = [&app](const char* name, std::size_t& value, const char* what,
                             std::size_t least) {
    weir::program::number_option(app, name, value, least, 1'000'000, "N", what);
  };
  number("--places", places, "clients at a time; those beyond are told and closed", 1);
  number("--per-peer", options.max_connections_per_peer,
         "connections of one IPv4 address or IPv6 /64; 0: any number", 0);
  number("--accept-rate", options.max_accept_rate, "let in a second; 0: any number", 0);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "after which a silent client is let go; 0: never");
  return sample::run(app, argc, argv, [&] {
    options.max_connections = places + kAtTheDoor;
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<House>(places));
    return weir::serve(loop, server, listen);
  });
}
