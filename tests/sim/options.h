// Options of servers and clients that a seed draws.
#pragma once

#include <algorithm>
#include <chrono>
#include <string_view>

#include "sim/part.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {

// All deadlines are far beyond kLongest (scenario.h), in which a seed must have ended.
template <typename Options>
Options draw_options(sim::World& world) {
  using namespace std::chrono_literals;
  Options options;
  options.trigger = world.random(2) == 0 ? Trigger::edge : Trigger::level;
  // More than a client sends: two sides that both send and stop reading at the high mark would wait
  // for each other.
  options.high_water = std::uint64_t{64 * 1024} << world.random(4);
  options.max_output = std::uint64_t{64} * 1024 * 1024;  // no part sends so much
  options.allow_half_open = world.random(2) == 0;
  options.idle_timeout = 200s;
  options.write_stall_timeout = 150s;
  options.linger_timeout = 150s;
  options.drain_timeout = 150s;
  return options;
}

// True if no fault ended a connection of the server: then all that was sent must have arrived.
inline bool undisturbed(const TcpServer& server) {
  using Kind = CloseReason::Kind;
  const TcpServer::Stats stats = server.stats();
  const std::uint64_t orderly =
      stats.closed_by(Kind::peer_eof) + stats.closed_by(Kind::local_close);
  return stats.shed == 0 && orderly == stats.accepted;
}

// Starts to listen, and calls `start` with the address for each client of the plan.
template <typename Start>
void serve_clients(TcpServer& server, Setting& setting, Start start) {
  const auto address = server.listen(setting.address());
  setting.verdict.expect(address.has_value(), "listen: {}",
                         address ? "" : address.error().message());
  for (std::size_t i = 0; address && i < setting.plan.clients; ++i) start(*address);
}

// Connects a client, and records its end. Set its other handlers before.
inline void connect(TcpClient& client, const SocketAddress& address, Lifecycle& life,
                    Verdict& verdict, std::string_view who) {
  client.on_close([&life, &verdict, who](TcpConnection&, CloseReason reason) {
    life.closed(verdict, who, reason);
  });
  client.on_connect_error([&life](const Error&, int) { life.failed_to_connect(); });
  const auto begun = client.connect(address);
  verdict.expect(begun.has_value(), "{}: {}", who, begun ? "" : begun.error().message());
}

// Whether all clients have ended, and the server has no connection any more.
template <typename Clients>
bool all_ended(const Clients& clients, const TcpServer& server) {
  return std::ranges::all_of(clients, [](const auto& each) { return each.life.done(); }) &&
         server.stats().connections == 0;
}

// A server or client whose connections close when the peer has ended its stream; allow_half_open
// leaves that to the program.
template <typename Endpoint>
void close_after_peer(Endpoint& endpoint) {
  endpoint.on_half_close([](TcpConnection& connection) { connection.close(); });
}

}  // namespace weir::test::simulation
