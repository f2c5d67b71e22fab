// The chaos proxy of a soak: forwards each connection to a server, and does to it what its plan
// says.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "soak/plan.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::soak {

class Link;

class Proxy {
 public:
  Proxy(EventLoop& loop, const Settings& settings, SocketAddress steady, SocketAddress replaced);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  Result<SocketAddress> listen() { return server_.listen("127.0.0.1:0"); }
  std::size_t links() const { return links_.size(); }
  std::size_t connections() const { return server_.connection_count(); }
  // How often each kind of chaos was applied.
  const std::array<std::uint64_t, kChaosKinds>& applied() const { return applied_; }

 private:
  friend class Link;

  EventLoop& loop_;
  const Settings& settings_;
  SocketAddress steady_;
  SocketAddress replaced_;
  TcpServer server_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Link>> links_;
  std::array<std::uint64_t, kChaosKinds> applied_{};
};

}  // namespace weir::test::soak
