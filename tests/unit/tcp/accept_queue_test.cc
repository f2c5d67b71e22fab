// The reports of a server about the queues before accept, and about a backlog that was cut.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/loops.h"
#include "support/net_namespace.h"
#include "support/temp_files.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

TEST(AcceptQueue, F40_StatsTellHowManyWaitAndTheLimit) {
  EventLoop loop;
  EchoServer echo(loop, {.backlog = 3});
  const SocketAddress address = echo.listen();
  ASSERT_EQ(echo.server.stats().accept_queues.size(), 1u);
  EXPECT_EQ(echo.server.stats().accept_queues[0].address, address);
  EXPECT_EQ(echo.server.stats().accept_queues[0].waiting, 0u);
  EXPECT_EQ(echo.server.stats().accept_queues[0].limit, 3u);

  std::vector<TestClient> clients;  // the loop does not turn meanwhile
  for (std::uint32_t i = 1; i <= 4; ++i) {
    clients.emplace_back(address);
    // The client is connected before its last ACK has put it into the queue.
    TcpServer::AcceptQueue queue;
    EXPECT_TRUE(wait_until([&] {
      queue = echo.server.stats().accept_queues[0];
      return queue.waiting >= i;
    }));
    EXPECT_EQ(queue.waiting, i);
    EXPECT_EQ(queue.full(), i == 4) << "one more than the limit";
  }
  EXPECT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 4; }));
  EXPECT_EQ(echo.server.stats().accept_queues[0].waiting, 0u);
}

TEST(AcceptQueue, F40_EachListenerButUnixOnesHasItsOwn) {
  EventLoop loop;
  EchoServer echo(loop, {.backlog = 5});
  const SocketAddress first = echo.listen();
  const SocketAddress second = echo.listen("[::1]:0");
  echo.listen(abstract_address("accept-queue"));
  const TestClient waits(second);
  EXPECT_TRUE(wait_until([&] { return echo.server.stats().accept_queues[1].waiting > 0; }));
  const auto queues = echo.server.stats().accept_queues;
  ASSERT_EQ(queues.size(), 2u);
  EXPECT_EQ(queues[0].address, first);
  EXPECT_EQ(queues[0].waiting, 0u);
  EXPECT_EQ(queues[1].address, second);
  EXPECT_EQ(queues[1].waiting, 1u);
}

TEST(AcceptQueue, F40_ASocketThatSeveralLoopsWatchIsToldOnce) {
  for (const auto& [mode, sockets] :
       {std::pair{AcceptMode::single, 1u}, std::pair{AcceptMode::exclusive, 1u},
        std::pair{AcceptMode::reuse_port, 3u}}) {
    EventLoop loop;
    EchoServer echo(loop, {.threads = 3, .accept = mode});
    const SocketAddress address = echo.listen();
    const SocketAddress other = echo.listen();
    const auto queues = echo.server.stats().accept_queues;
    ASSERT_EQ(queues.size(), 2 * sockets);
    EXPECT_EQ(queues.front().address, address);
    EXPECT_EQ(queues.back().address, other);
  }
}

TEST(AcceptQueue, F40_WhatDoesNotListenOrCannotBeAskedIsNotTold) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EchoServer echo(loop);
  EXPECT_TRUE(echo.server.stats().accept_queues.empty()) << "before listen";
  echo.listen();
  faults.on(Call::getsockopt).first(1).fail(ENOPROTOOPT);
  EXPECT_TRUE(echo.server.stats().accept_queues.empty());
  EXPECT_EQ(echo.server.stats().accept_queues.size(), 1u);
  bool done = false;
  echo.server.shutdown(1s, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_TRUE(echo.server.stats().accept_queues.empty());
}

TEST(AcceptQueue, F40_AnyThreadMayAskWhileListenersComeAndGo) {
  for (const AcceptMode mode : {AcceptMode::exclusive, AcceptMode::reuse_port}) {
    EventLoop loop;
    EchoServer echo(loop, {.threads = 2, .accept = mode});
    SocketAddress address = echo.listen();
    std::atomic<bool> over = false;
    std::thread asks([&] {
      while (!over) {
        for (const TcpServer::AcceptQueue& queue : echo.server.stats().accept_queues) {
          EXPECT_NE(queue.address.port(), 0);
          EXPECT_GT(queue.limit, 0u);
          EXPECT_EQ(queue.waiting, 0u) << "nobody comes";
        }
      }
    });
    for (int i = 0; i < 3; ++i) echo.listen();
    echo.server.shutdown(1s, [&] { loop.stop(); });
    loop.run();
    // Its own loops have closed them, however often somebody asked: the address is free.
    EXPECT_TRUE(ListeningSocket::open(address, {.reuse_addr = false}).has_value());
    over = true;
    asks.join();
  }
}

TEST(AcceptQueue, F40_ABacklogThatIsCutIsWarnedAboutOnceForAllListeners) {
  const bool entered = in_net_namespace([] {
    const ExpectLog warned("the kernel limits the backlog of 4096 to 16 (net.core.somaxconn)");
    ASSERT_TRUE(set_net_option("core/somaxconn", "16"));
    EventLoop loop;
    EchoServer echo(loop, {.threads = 2, .accept = AcceptMode::reuse_port});
    echo.listen();
    echo.listen("[::1]:0");
    const auto queues = echo.server.stats().accept_queues;
    ASSERT_EQ(queues.size(), 4u);
    for (const TcpServer::AcceptQueue& queue : queues) EXPECT_EQ(queue.limit, 16u);
    EXPECT_EQ(warned.count(), 1u);
  });
  if (!entered) GTEST_SKIP() << kNoNamespace;
}

TEST(AcceptQueue, F40_AListenThatFailsDoesNotSwallowTheWarning) {
  const bool entered = in_net_namespace([] {
    const ExpectLog warned("the kernel limits the backlog of 4096 to 16 (net.core.somaxconn)");
    ASSERT_TRUE(set_net_option("core/somaxconn", "16"));
    EventLoop loop;
    EchoServer first(loop, {.backlog = 16});
    EchoServer second(loop);
    EXPECT_FALSE(second.server.listen(first.listen()).has_value()) << "the address is taken";
    EXPECT_EQ(warned.count(), 0u);
    second.listen();
    EXPECT_EQ(warned.count(), 1u);
  });
  if (!entered) GTEST_SKIP() << kNoNamespace;
}

}  // namespace
}  // namespace weir::test
