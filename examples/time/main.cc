// weir-time: sends each client the time as a 32-bit number, then closes (RFC 868).
//
// The number is in network byte order. It wraps to 0 on 7 February 2036, so a client must know
// which period of 136 years is meant.

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "weir/base/byte_order.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

using std::chrono::sys_seconds;
using namespace std::chrono_literals;

// Seconds since 1 January 1900, modulo 2^32.
constexpr std::uint32_t seconds_since_1900(sys_seconds time) {
  constexpr sys_seconds kBegin = std::chrono::sys_days(1900y / 1 / 1);
  return static_cast<std::uint32_t>((time - kBegin).count());
}
// Two examples from the RFC, the last value, and the first one after it.
static_assert(seconds_since_1900(std::chrono::sys_days(1970y / 1 / 1)) == 2'208'988'800);
static_assert(seconds_since_1900(std::chrono::sys_days(1983y / 5 / 1)) == 2'629'584'000);
static_assert(seconds_since_1900(std::chrono::sys_days(2036y / 2 / 7) + 6h + 28min + 15s) ==
              0xffff'ffff);
static_assert(seconds_since_1900(std::chrono::sys_days(2036y / 2 / 7) + 6h + 28min + 16s) == 0);

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::TcpServer::Options options;
  CLI::App app("Sends the time in seconds since 1900, as 32 bits (RFC 868).", "weir-time");
  sample::listen_option(app, listen);
  sample::seconds_option(app, "--linger", options.linger_timeout,
                         "to wait until the client closes, too; 0: for ever");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.on_open([](weir::TcpConnection& conn) {
      const auto now =
          std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
      const std::array number{weir::host_to_network(seconds_since_1900(now))};
      conn.send(std::as_bytes(std::span(number)));
      conn.close();
    });
    return weir::serve(loop, server, listen);
  });
}
