// Failures of a connection between accept(2) and its first message.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <future>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/allocations.h"
#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/loop_harness.h"
#include "support/process_state.h"
#include "support/spin_oracle.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// Every way of accepting, by number.
const std::array<TcpServer::Options, 8> kWays{{
    {},
    {.trigger = Trigger::edge},
    {.threads = 2, .accept = AcceptMode::single},
    {.threads = 2, .accept = AcceptMode::single, .trigger = Trigger::edge},
    {.threads = 2, .accept = AcceptMode::reuse_port},
    {.threads = 2, .accept = AcceptMode::reuse_port, .trigger = Trigger::edge},
    {.threads = 2, .accept = AcceptMode::exclusive},
    {.threads = 2, .accept = AcceptMode::exclusive, .trigger = Trigger::edge},
}};

class AcceptFailures : public ::testing::TestWithParam<std::size_t>, public LoopHarness {
 protected:
  const TcpServer::Options& options() const { return kWays.at(GetParam()); }
  // No connection is left, and each that was accepted is accounted for.
  void expect_balance(EchoServer& echo) {
    EXPECT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 0; }));
    const TcpServer::Stats stats = echo.server.stats();
    EXPECT_EQ(stats.connections, 0u);
    EXPECT_EQ(stats.accepted,
              std::accumulate(stats.closed.begin(), stats.closed.end(), stats.refused));
    EXPECT_EQ(echo.closed, stats.accepted - stats.refused);
  }

  // Every loop has registered with epoll: it has begun a turn since. Not from a turn of the loop.
  static void wait_until_watched(TcpServer& server) {
    for (std::size_t i = 0; i < server.loop_count(); ++i) {
      std::promise<void> watched;
      EventLoop& on = server.loop(i);
      on.post([&] { on.post([&] { watched.set_value(); }); });
      watched.get_future().get();
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Way, AcceptFailures, ::testing::Range(std::size_t{0}, kWays.size()));

TEST_P(AcceptFailures, F16_OneConnectionThatEpollRefusesEndsAlone) {
  const ExpectLog said("watch a connection: epoll_ctl");
  for (const int error : {ENOMEM, ENOSPC, EPERM}) {
    faults.clear();
    EchoServer echo(loop, options());
    const SocketAddress address = echo.listen();
    TestClient before(address);
    serve_while(loop, [&] {
      wait_until_watched(echo.server);
      EXPECT_TRUE(echoes(before));
    });
    faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).nth(1).fail(error);
    TestClient unlucky(address);
    serve_while(loop, [&] {
      EXPECT_NE(unlucky.wait_for_end(), TestClient::End::open);
      EXPECT_TRUE(echoes(before));
      TestClient after(address);
      EXPECT_TRUE(echoes(after));
    });
    EXPECT_EQ(echo.closed_for(Kind::io_error), 1u);
    EXPECT_EQ(echo.server.stats().closed_by(Kind::io_error), 1u);
    before.close();
    expect_balance(echo);
  }
}

TEST_P(AcceptFailures, F43_EpollRefusesAllConnections) {
  const ExpectLog said("watch a connection: epoll_ctl");
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  serve_while(loop, [&] {
    wait_until_watched(echo.server);
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
  });
  const auto descriptors = [&] { return open_descriptors().size(); };
  expect_balance(echo);
  const auto before = descriptors();
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).always().fail(ENOSPC);
  serve_while(loop, [&] {
    for (int i = 0; i < 50; ++i) {
      TestClient client(address);
      EXPECT_NE(client.wait_for_end(), TestClient::End::open);
    }
  });
  EXPECT_TRUE(wait_until([&] { return descriptors() == before; }));
  faults.clear();
  expect_balance(echo);
  EXPECT_EQ(echo.closed_for(Kind::io_error), 50u);
}

TEST_P(AcceptFailures, F43_AHandlerThatThrowsInOnOpenEndsThatConnection) {
  const ExpectLog said("an exception left on_open");
  EchoServer echo(loop, options());
  std::atomic<int> opened = 0;
  echo.server.on_open([&](TcpConnection& connection) {
    connection.send("hello");
    switch (opened++ % 3) {
      case 1:
        throw std::runtime_error("not this one");
      case 2:
        throw 42;
    }
  });
  const SocketAddress address = echo.listen();
  std::atomic<int> good = 0;
  serve_while(loop, [&] {
    for (int i = 0; i < 30; ++i) {
      TestClient client;
      if (client.try_connect(address) != 0) continue;
      if (client.receive_exactly(5) == "hello" && echoes(client)) ++good;
    }
  });
  EXPECT_EQ(good, 10);
  EXPECT_TRUE(run_until(loop, [&] { return echo.closed == 30; }));
  EXPECT_EQ(echo.closed_for(Kind::handler_threw), 20u);
  expect_balance(echo);
}

TEST_P(AcceptFailures, F43_ClosedAbortedOrShutInOnOpen) {
  EchoServer echo(loop, options());
  std::atomic<int> opened = 0;
  echo.server.on_open([&](TcpConnection& connection) {
    connection.send("bye");
    switch (opened++ % 3) {
      case 0:
        return connection.close();
      case 1:
        return connection.shutdown();
      default:
        return connection.abort();
    }
  });
  const SocketAddress address = echo.listen();
  serve_while(loop, [&] {
    for (int i = 0; i < 30; ++i) {
      TestClient client;
      if (client.try_connect(address) == 0) {
        EXPECT_NE(client.wait_for_end(), TestClient::End::open);
      }
    }
  });
  EXPECT_TRUE(run_until(loop, [&] { return echo.closed == 30; }));
  EXPECT_EQ(echo.closed_for(Kind::aborted), 10u);
  expect_balance(echo);
}

TEST_P(AcceptFailures, F38_ThoseWhoResetBeforeTheyAreAcceptedCostNothing) {
  constexpr std::size_t kEach = 250;
  constexpr std::size_t kRounds = 8;
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  for (std::size_t round = 1; round <= kRounds; ++round) {
    for (std::size_t i = 0; i < kEach; ++i) TestClient(address).reset();
    EXPECT_TRUE(run_until(loop, [&] { return echo.closed == round * kEach; }));
  }
  EXPECT_EQ(echo.closed_for(Kind::reset), kRounds * kEach);
  serve_while(loop, [&] {
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
  });
  expect_balance(echo);
}

TEST_P(AcceptFailures, F38_AGreetingForOneWhoIsGone) {
  TcpServer server(loop, options());
  std::atomic<int> ended = 0;
  std::atomic<int> strange = 0;
  server.on_open([&](TcpConnection& connection) {
    static_cast<void>(connection.peer_address());  // ENOTCONN: nothing thrown
    connection.send("hello");
    connection.send("again");
  });
  server.on_close([&](TcpConnection&, CloseReason reason) {
    if (reason.kind != Kind::reset) ++strange;
    ++ended;
  });
  const auto address = server.listen("127.0.0.1:0").value();
  for (int i = 0; i < 200; ++i) TestClient(address).reset();
  EXPECT_TRUE(run_until(loop, [&] { return ended == 200; }));
  EXPECT_EQ(strange, 0);
}

// --- shut by somebody else -----------------------------------------------------------------------

// This process' listening sockets on `address`.
std::vector<int> listeners_on(const SocketAddress& address) {
  std::vector<int> result;
  for (const auto& [fd, what] : open_descriptors()) {
    if (!what.starts_with("socket:")) continue;
    int listening = 0;
    socklen_t length = sizeof(listening);
    ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    if (listening == 0) continue;
    sockaddr_storage name{};
    length = sizeof(name);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
    if (SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&name), length) == address) {
      result.push_back(fd);
    }
  }
  return result;
}

TEST_P(AcceptFailures, F39_AListenerShutFromElsewhereStopsOnce) {
  const ExpectLog said("stop listening on 127.0.0.1:");
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  TestClient established(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(established)); });
  const auto sockets = listeners_on(address);
  ASSERT_FALSE(sockets.empty());
  on_other_thread([&] {
    for (const int fd : sockets) ::shutdown(fd, SHUT_RDWR);
  });
  EXPECT_TRUE(run_until(loop, [&] { return listeners_on(address).empty(); }));
  EXPECT_TRUE(run_until(loop, [&] { return said.count() >= sockets.size(); }));
  EXPECT_TRUE(rests(loop, faults));
  EXPECT_EQ(said.count(), sockets.size());
  EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
  const SocketAddress other = echo.listen();  // the server can go on elsewhere
  serve_while(loop, [&] {
    EXPECT_TRUE(echoes(established));
    TestClient client(other);
    EXPECT_TRUE(echoes(client));
  });
}

// --- no memory -----------------------------------------------------------------------------------

// The nth allocation between accept and the first answer fails, for every n that there is.
TEST(AcceptMemory, F43_AnAllocationThatFailsCostsAtMostThatConnection) {
  if (!AllocationCount::available()) GTEST_SKIP() << "the sanitizer's operator new is in use";
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    int failures = 0;
    for (std::uint64_t n = 1;; ++n) {
      const AllowLog no_memory("no memory");
      const AllowLog threw("an exception left");
      EventLoop loop;
      EchoServer echo(loop, {.trigger = trigger});
      const SocketAddress address = echo.listen();
      run_turn(loop);
      TestClient client(address);
      client.send_all("ping");
      const TimerId end = loop.run_after(10ms, [&] { loop.stop(); });
      bool happened = false;
      {
        const FailAllocation fail(n);
        try {
          loop.run();
        } catch (const std::bad_alloc&) {  // of the loop's own; run() may be called again
        }
        happened = fail.happened();
      }
      loop.cancel(end);  // the failure may have come before it
      if (!happened) break;
      ++failures;
      serve_while(loop, [&] {
        const bool served = client.receive_exactly(4, 500ms) == "ping";
        EXPECT_TRUE(served || client.ended() != TestClient::End::open) << "allocation " << n;
        TestClient next(address);
        EXPECT_TRUE(echoes(next)) << "allocation " << n;
      });
      client.close();
      EXPECT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 0; }))
          << "allocation " << n;
      EXPECT_EQ(echo.opened, echo.closed) << "allocation " << n;
    }
    EXPECT_GT(failures, 0);
  }
}

}  // namespace
}  // namespace weir::test
