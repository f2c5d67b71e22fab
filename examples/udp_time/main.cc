// weir-udp-time: answers each datagram with the time as a 32-bit number (RFC 868).
//
// The number is in network byte order. Datagrams that may come from another time service (four
// bytes, or a port below 1024) are not answered: with a forged sender both services would answer
// each other without end. An answer has only four bytes, so a forged sender cannot use this server
// to amplify an attack.

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
#include "weir/net/udp/udp_server.h"

namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kFirstClientPort = 1024;

// Seconds since 1 January 1900, modulo 2^32: wraps to 0 on 7 February 2036.
std::uint32_t seconds_since_1900() {
  constexpr std::chrono::sys_seconds kBegin = std::chrono::sys_days(1900y / 1 / 1);
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return static_cast<std::uint32_t>((now - kBegin).count());
}

void send_time(weir::UdpSocket& socket, std::span<const weir::Datagram> batch) {
  const std::array number{weir::host_to_network(seconds_since_1900())};
  const auto answer = std::as_bytes(std::span(number));
  for (const weir::Datagram& in : batch) {
    if (in.payload.size() == answer.size()) continue;
    if (in.peer.port() != 0 && in.peer.port() < kFirstClientPort) continue;
    socket.reply(in, answer);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::UdpServer::Options options;
  CLI::App app("Sends the time in seconds since 1900, as 32 bits (RFC 868, over UDP).",
               "weir-udp-time");
  sample::listen_option(app, listen);
  return sample::run(app, argc, argv, [&] {
    options.socket.packet_info = true;  // answers come from the address that the client used
    weir::EventLoop loop;
    weir::UdpServer server(loop, options);
    server.on_datagrams(send_time);
    return weir::serve(loop, server, listen);
  });
}
