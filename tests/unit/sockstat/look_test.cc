// Looks at real sockets of this process, and what the files below /proc say.
#include "sockstat/look.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <utility>
#include <vector>

#include "sockstat/proc_files.h"
#include "weir/base/clock.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/socket/socket.h"

namespace weir::sockstat::test {
namespace {

using ::testing::HasSubstr;

TEST(ProcFiles, Netstat) {
  const std::string text =
      "TcpExt: SyncookiesSent ListenOverflows ListenDrops Other\n"
      "TcpExt: 1 22 333 4\n"
      "IpExt: InNoRoutes ListenDrops\n"
      "IpExt: 5 6\n";
  EXPECT_EQ(read_netstat(text).listen_overflows, 22u);
  EXPECT_EQ(read_netstat(text).listen_drops, 333u);
  EXPECT_EQ(read_netstat("").listen_drops, 0u);
  EXPECT_EQ(read_netstat("TcpExt:").listen_drops, 0u);
  EXPECT_EQ(read_netstat("TcpExt: ListenDrops\nTcpExt:\n").listen_drops, 0u);
  EXPECT_EQ(read_netstat("TcpExt: ListenDrops\nTcpExt: x\n\n\n").listen_drops, 0u);
}

TEST(ProcFiles, LinksOfDescriptors) {
  EXPECT_EQ(socket_inode("socket:[4711]"), 4711u);
  for (const char* other : {"pipe:[1]", "socket:[]", "socket:[x]", "socket:[1", "/dev/null", "",
                            "socket:[99999999999]", "socket:[-1]", "socket:[1]]"}) {
    EXPECT_FALSE(socket_inode(other)) << other;
  }
}

TEST(ProcFiles, AProcessThatIsNotThere) {
  const auto sockets = sockets_of(1 << 30);
  ASSERT_FALSE(sockets);
  EXPECT_THAT(sockets.error().message(), HasSubstr("there is no process 1073741824"));
}

// A kernel of the test's own making.
class MadeSockets : public SocketSource {
 public:
  std::vector<TcpSocket> tcp;
  Result<void> unix_outcome;

  Result<void> each_tcp(const TcpQuery& query,
                        const std::function<void(const TcpSocket&)>& fn) override {
    for (const TcpSocket& socket : tcp) {
      if ((query.states >> static_cast<unsigned>(socket.state) & 1) != 0) fn(socket);
    }
    return {};
  }
  Result<void> each_unix(const std::function<void(const UnixSocket&)>& fn) override {
    UnixSocket socket;
    socket.state = UnixSocket::State::connected;
    fn(socket);
    return unix_outcome;
  }
};

TEST(Look, AKernelThatDoesNotTellOfUnixSockets) {
  MadeSockets kernel;
  EXPECT_EQ(look(kernel, {})->unix_connected, 1u);
  EXPECT_FALSE(look(kernel, {.port = 7000})->unix_connected) << "nobody asked";
  kernel.unix_outcome = std::unexpected(Error("sock_diag", Errno(ENOENT)));
  const auto now = look(kernel, {});
  ASSERT_TRUE(now) << now.error().message();
  EXPECT_FALSE(now->unix_connected);
  kernel.unix_outcome = std::unexpected(Error("sock_diag", Errno(EPERM)));
  EXPECT_FALSE(look(kernel, {}));
}

Endpoint v4(std::array<std::uint8_t, 4> address, std::uint32_t interface = 0) {
  Endpoint end{.port = 7000, .interface = interface};
  std::ranges::copy(address, end.bytes.begin());
  return end;
}

Endpoint v6(std::uint8_t last) {
  Endpoint end{.v6 = true, .port = 7000};
  end.bytes[15] = last;
  return end;
}

Endpoint mapped(std::array<std::uint8_t, 4> address) {
  Endpoint end{.v6 = true, .port = 7000};
  end.bytes[10] = end.bytes[11] = 255;
  std::ranges::copy(address, end.bytes.begin() + 12);
  return end;
}

TcpSocket made_listener(const Endpoint& local, bool v6_only = false) {
  TcpSocket socket;
  socket.state = State::listen;
  socket.local = local;
  socket.v6_only = v6_only;
  return socket;
}

// What the listeners, in their order, show after a SYN to `local`.
std::vector<std::uint64_t> half_open(const std::vector<TcpSocket>& listeners,
                                     const Endpoint& local) {
  MadeSockets kernel;
  kernel.tcp = listeners;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    kernel.tcp[i].inode = static_cast<std::uint32_t>(i + 1);
  }
  kernel.tcp.push_back({.state = State::syn_recv, .local = local, .peer = {}});
  auto now = look(kernel, {.port = 7000});
  EXPECT_TRUE(now);
  std::ranges::sort(now->listeners, {}, &Listener::inode);
  std::vector<std::uint64_t> counts;
  for (const Listener& listener : now->listeners) counts.push_back(listener.half_open);
  return counts;
}

TEST(Look, AHandshakeIsForTheNearestListener) {
  using ::testing::ElementsAre;
  constexpr std::array<std::uint8_t, 4> kAny{};
  constexpr std::array<std::uint8_t, 4> kLoopback = {127, 0, 0, 1};
  constexpr std::array<std::uint8_t, 4> kOther = {10, 0, 0, 1};
  const TcpSocket any4 = made_listener(v4(kAny));
  const TcpSocket any6 = made_listener(v6(0));
  const TcpSocket only6 = made_listener(v6(0), true);
  const TcpSocket loopback = made_listener(v4(kLoopback));

  EXPECT_THAT(half_open({any4, only6}, v4(kLoopback)), ElementsAre(1, 0));
  EXPECT_THAT(half_open({any4, only6}, v6(1)), ElementsAre(0, 1));
  EXPECT_THAT(half_open({only6}, mapped(kLoopback)), ElementsAre(0));
  EXPECT_THAT(half_open({any6}, v4(kLoopback)), ElementsAre(1));
  EXPECT_THAT(half_open({any6}, mapped(kLoopback)), ElementsAre(1));
  EXPECT_THAT(half_open({any6, any4}, v4(kLoopback)), ElementsAre(0, 1));
  EXPECT_THAT(half_open({any4, loopback, any6}, v4(kLoopback)), ElementsAre(0, 1, 0));
  EXPECT_THAT(half_open({loopback, any4}, v4(kOther)), ElementsAre(0, 1));
  EXPECT_THAT(half_open({made_listener(mapped(kLoopback)), any4}, v4(kLoopback)),
              ElementsAre(1, 0));
  EXPECT_THAT(half_open({made_listener(v6(1)), any6}, v6(1)), ElementsAre(1, 0));
  EXPECT_THAT(half_open({any4, any4}, v4(kLoopback)), ElementsAre(1, 1)) << "they share it";
  EXPECT_THAT(half_open({any4, made_listener(v4(kAny, 3))}, v4(kLoopback, 3)), ElementsAre(0, 1));
  EXPECT_THAT(half_open({any4, made_listener(v4(kAny, 3))}, v4(kLoopback)), ElementsAre(1, 0));
}

// Somebody else's listener on the same port, which nothing is shown of.
TEST(Look, WhatComesToAnotherProcessIsNotOurs) {
  auto ours = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  ASSERT_TRUE(ours);
  auto real = SockDiag::open();
  ASSERT_TRUE(real);
  const auto seen = look(*real, {.port = ours->address().port()});
  ASSERT_TRUE(seen && seen->listeners.size() == 1);
  MadeSockets kernel;
  TcpSocket any = made_listener(v4({}));
  any.inode = seen->listeners[0].inode;
  TcpSocket theirs = made_listener(v4({127, 0, 0, 1}));
  theirs.inode = any.inode + 1;
  while (sockets_of(::getpid())->contains(theirs.inode)) ++theirs.inode;
  kernel.tcp = {any, theirs};
  for (const auto& local : {v4({127, 0, 0, 1}), v4({10, 0, 0, 1})}) {
    kernel.tcp.push_back({.state = State::time_wait, .local = local, .peer = {}});
  }
  const auto now = look(kernel, {.pid = ::getpid(), .connections = true});
  ASSERT_TRUE(now);
  ASSERT_EQ(now->connections.size(), 1u);
  EXPECT_EQ(now->connections[0].local, v4({10, 0, 0, 1}));
}

TEST(Look, AListenerWhoseQueueIsFull) {
  auto listener = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {.backlog = 1});
  ASSERT_TRUE(listener);
  auto kernel = SockDiag::open();
  ASSERT_TRUE(kernel) << kernel.error().message();
  Selection selection{.port = listener->address().port(), .connections = true};
  auto now = look(*kernel, selection);
  ASSERT_TRUE(now) << now.error().message();
  ASSERT_EQ(now->listeners.size(), 1u);
  EXPECT_EQ(now->listeners[0].address, listener->address().to_string());
  EXPECT_EQ(now->listeners[0].limit, 1u);
  EXPECT_EQ(now->listeners[0].drops, 0u);
  EXPECT_EQ(now->listeners[0].uid, ::geteuid());
  EXPECT_FALSE(now->listeners[0].full());
  EXPECT_EQ(now->count(State::listen), 1u);

  // Looks until it is so: a last ACK or a SYN may be on its way when connect returns.
  const auto look_until = [&](const std::function<bool()>& so) {
    const auto end = Clock::now() + std::chrono::seconds(10);
    do {
      now = look(*kernel, selection);
    } while (now && !so() && Clock::now() < end);
    return now.has_value();
  };
  std::vector<Socket> clients;
  const auto connect_one = [&] {
    clients.push_back(std::move(*Socket::stream(SocketAddress::Family::ipv4)));
    static_cast<void>(clients.back().connect(listener->address()));
  };
  connect_one();
  connect_one();
  ASSERT_TRUE(look_until([&] { return now->listeners[0].queue == 2; }));
  connect_one();  // whose SYN is dropped
  ASSERT_TRUE(look_until([&] { return now->listeners[0].drops > 0u; }));
  EXPECT_EQ(now->listeners[0].queue, 2u);
  EXPECT_TRUE(now->listeners[0].full());
  EXPECT_GE(now->listeners[0].drops, 1u);
  EXPECT_GE(now->host.listen_overflows, 1u);
  EXPECT_EQ(now->count(State::established), 2u);
  ASSERT_EQ(now->connections.size(), 2u);
  EXPECT_EQ(now->connections[0].inode, 0u) << "nobody has accepted it";
  EXPECT_TRUE(now->connections[0].details);

  selection.both_ends = true;
  now = look(*kernel, selection);
  ASSERT_TRUE(now);
  EXPECT_EQ(now->count(State::established), 4u);
  EXPECT_EQ(now->count(State::syn_sent), 1u);
}

TEST(Look, ABoundSocketIsClosed) {
  const Fd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(bound.get(), name, size), 0);
  ASSERT_EQ(::getsockname(bound.get(), name, &size), 0);
  auto kernel = SockDiag::open();
  ASSERT_TRUE(kernel);
  const auto now = look(*kernel, {.port = ntohs(address.sin_port), .connections = true});
  ASSERT_TRUE(now) << now.error().message();
  EXPECT_TRUE(now->listeners.empty());
  utsname system{};
  ASSERT_EQ(::uname(&system), 0);
  int version[2] = {0, 0};
  ASSERT_EQ(std::sscanf(system.release, "%d.%d", &version[0], &version[1]), 2);
  if (std::pair(version[0], version[1]) < std::pair(6, 8)) {
    EXPECT_EQ(now->count(State::closed), 0u) << "not told of";
    return;
  }
  EXPECT_EQ(now->count(State::closed), 1u);
  ASSERT_EQ(now->connections.size(), 1u);
  EXPECT_EQ(now->connections[0].state, State::closed);
  EXPECT_EQ(now->connections[0].uid, ::geteuid());
  EXPECT_FALSE(now->connections[0].details) << "it has never sent anything";
}

TEST(Look, TheSocketsOfAProcess) {
  auto tcp = ListeningSocket::open(SocketAddress::loopback_ipv6(0), {.backlog = 7});
  const auto name = SocketAddress::from_unix_abstract("weir-sockstat-" + std::to_string(getpid()));
  auto local = ListeningSocket::open(*name, {.backlog = 3});
  ASSERT_TRUE(tcp && local);
  auto client = Socket::stream(SocketAddress::Family::unix_path);
  ASSERT_TRUE(client && client->connect(*name));
  auto kernel = SockDiag::open();
  ASSERT_TRUE(kernel);
  const auto now = look(*kernel, {.pid = ::getpid(), .connections = true});
  ASSERT_TRUE(now) << now.error().message();
  ASSERT_EQ(now->listeners.size(), 2u);
  EXPECT_EQ(now->listeners[0].address, tcp->address().to_string());
  EXPECT_EQ(now->listeners[0].limit, 7u);
  EXPECT_FALSE(now->listeners[1].tcp);
  EXPECT_EQ(now->listeners[1].address, name->to_string());
  EXPECT_EQ(now->listeners[1].queue, 1u);
  EXPECT_EQ(now->listeners[1].limit, 3u);
  EXPECT_GE(now->unix_connected, 1u);
}

}  // namespace
}  // namespace weir::sockstat::test
