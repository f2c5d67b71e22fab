// How connections are spread over the loops of a server, counted per loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "support/echo_server.h"
#include "support/loops.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

// A server on two loops that keeps refs of its connections by loop.
struct TwoLoops {
  explicit TwoLoops(AcceptMode accept) : server(loop, {.threads = 2, .accept = accept}) {
    server.on_open([this](TcpConnection& connection) {
      const std::lock_guard lock(mutex);
      const bool second = &connection.loop() == &server.loop(1);
      opened[second ? 1 : 0].push_back(connection.ref());
    });
    address = server.listen("127.0.0.1:0").value();
  }
  std::array<std::size_t, 2> counts() {
    const std::lock_guard lock(mutex);
    return {opened[0].size(), opened[1].size()};
  }
  std::size_t total() {
    const auto [first, second] = counts();
    return first + second;
  }
  // One after the other: each was opened before the next one connects.
  void connect_slowly(std::size_t clients) {
    for (std::size_t i = 0; i < clients; ++i) {
      const std::size_t before = total();
      connected.emplace_back(address);
      ASSERT_TRUE(run_until(loop, [&] { return total() > before; }));
    }
  }

  EventLoop loop;
  std::mutex mutex;
  std::array<std::vector<ConnectionRef>, 2> opened;  // mutex
  TcpServer server;
  SocketAddress address;
  std::vector<TestClient> connected;
};

std::size_t difference(std::array<std::size_t, 2> counts) {
  return std::max(counts[0], counts[1]) - std::min(counts[0], counts[1]);
}

// The kernel wakes the loop that has waited for longest, or always the same one.
TEST(Spread, F41_SlowConnectsDoNotPileUpOnOneLoopInExclusiveMode) {
  constexpr std::size_t kClients = 400;
  TwoLoops two(AcceptMode::exclusive);
  two.connect_slowly(kClients);
  ASSERT_EQ(two.total(), kClients);
  // One more than max(8, 5 % of 210): the last one that the fuller loop kept.
  EXPECT_LE(difference(two.counts()), 11u) << two.counts()[0] << " and " << two.counts()[1];
  serve_while(two.loop, [&] {
    for (TestClient& client : two.connected) {
      client.shutdown_write();
      EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
    }
  });
}

TEST(Spread, F41_ABurstIsSpreadInExclusiveMode) {
  constexpr std::size_t kClients = 400;
  TwoLoops two(AcceptMode::exclusive);
  for (std::size_t i = 0; i < kClients; ++i) two.connected.emplace_back(two.address);
  ASSERT_TRUE(run_until(two.loop, [&] { return two.total() == kClients; }));
  // Both loops may judge by the same count at once.
  EXPECT_LE(difference(two.counts()), 20u) << two.counts()[0] << " and " << two.counts()[1];
}

// In turn is not even when those of one loop end.
TEST(Spread, NewConnectionsGoToTheLoopThatBecameEmptyInSingleMode) {
  TwoLoops two(AcceptMode::single);
  two.connect_slowly(80);
  ASSERT_EQ(two.counts(), (std::array<std::size_t, 2>{40, 40}));
  std::vector<ConnectionRef> leaving;
  {
    const std::lock_guard lock(two.mutex);
    leaving.swap(two.opened[0]);
  }
  for (const ConnectionRef& ref : leaving) ref.abort();
  ASSERT_TRUE(run_until(two.loop, [&] { return two.server.connection_count() == 40; }));
  two.connect_slowly(40);
  EXPECT_LE(difference(two.counts()), 9u) << two.counts()[0] << " and " << two.counts()[1];
}

TEST(Spread, SmallDifferencesAreLeftAlone) {
  TwoLoops two(AcceptMode::single);
  two.connect_slowly(10);
  two.opened[0].front().abort();
  two.opened[0].back().abort();
  ASSERT_TRUE(run_until(two.loop, [&] { return two.server.connection_count() == 8; }));
  two.connect_slowly(4);
  EXPECT_EQ(two.counts(), (std::array<std::size_t, 2>{7, 7}));  // in turn
}

// --- one loop: the mode is not ignored -----------------------------------------------------------

TEST(Spread, ServersWithoutThreadsShareAnAddressByReusePort) {
  EventLoop loop;
  EchoServer first(loop, {.accept = AcceptMode::reuse_port});
  EchoServer second(loop, {.accept = AcceptMode::reuse_port});
  const SocketAddress address = first.listen();
  const auto shared = second.server.listen(address);
  ASSERT_TRUE(shared.has_value()) << shared.error().message();
  EXPECT_EQ(*shared, address);
  std::vector<TestClient> clients;
  serve_while(loop, [&] {
    for (int i = 0; i < 64; ++i) {
      clients.emplace_back(address);
      EXPECT_TRUE(echoes(clients.back()));
    }
  });
  EXPECT_GT(first.opened, 0u);
  EXPECT_GT(second.opened, 0u);
  EXPECT_EQ(first.opened + second.opened, 64u);
}

TEST(Spread, WithoutReusePortAnAddressIsNotShared) {
  EventLoop loop;
  EchoServer first(loop);
  EchoServer second(loop, {.accept = AcceptMode::reuse_port});
  const SocketAddress address = first.listen();
  const auto refused = second.server.listen(address);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), EADDRINUSE);
}

TEST(Spread, ServersWithoutThreadsShareOneSocketByExclusive) {
  EventLoop loop;
  EchoServer first(loop, {.accept = AcceptMode::exclusive});
  EchoServer second(loop, {.accept = AcceptMode::exclusive});
  const SocketAddress address = first.listen();
  auto shares = first.server.duplicate_listeners().value();
  auto socket = ListeningSocket::adopt(std::move(shares.front().fd));
  ASSERT_TRUE(socket.has_value()) << socket.error().message();
  ASSERT_TRUE(second.server.listen(std::move(*socket)).has_value());
  serve_while(loop, [&] {
    for (int i = 0; i < 8; ++i) {
      TestClient client(address);
      EXPECT_TRUE(echoes(client));
    }
  });
  EXPECT_EQ(first.opened + second.opened, 8u);
}

}  // namespace
}  // namespace weir::test
