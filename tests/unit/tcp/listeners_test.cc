// Pausing and resuming accept, and closing one address of several.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/fault_table.h"
#include "support/loops.h"
#include "support/spin_oracle.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Way {
  const char* name;
  AcceptMode accept;
  std::size_t threads;
  Trigger trigger;
};

std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }

class Listeners : public ::testing::TestWithParam<Way> {
 protected:
  TcpServer::Options options() const {
    return {
        .threads = GetParam().threads, .accept = GetParam().accept, .trigger = GetParam().trigger};
  }
  // Every loop of the server has run what was posted to it before.
  void wait_for_all(TcpServer& server) {
    for (std::size_t i = 0; i < server.loop_count(); ++i) {
      std::atomic<bool> ran = false;
      server.loop(i).post([&] { ran = true; });
      ASSERT_TRUE(run_until(loop, [&] { return ran.load(); }));
    }
  }
  std::uint32_t waiting(const TcpServer& server) {
    std::uint32_t sum = 0;
    for (const auto& queue : server.stats().accept_queues) sum += queue.waiting;
    return sum;
  }
  EventLoop loop;
};

INSTANTIATE_TEST_SUITE_P(
    Tcp, Listeners,
    ::testing::Values(Way{"OneLoop", AcceptMode::single, 0, Trigger::level},
                      Way{"OneLoopEdge", AcceptMode::single, 0, Trigger::edge},
                      Way{"Single", AcceptMode::single, 2, Trigger::level},
                      Way{"ReusePort", AcceptMode::reuse_port, 2, Trigger::edge},
                      Way{"Exclusive", AcceptMode::exclusive, 2, Trigger::level}),
    ::testing::PrintToStringParamName());

// --- pause_accepting() ---------------------------------------------------------------------------

TEST_P(Listeners, WhileAcceptIsPausedClientsWaitAndOthersAreServed) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  TestClient before(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(before)); });

  echo.server.pause_accepting();
  echo.server.pause_accepting();
  wait_for_all(echo.server);
  std::vector<TestClient> clients;
  for (int i = 0; i < 5; ++i) clients.emplace_back(address);
  EXPECT_TRUE(run_until(loop, [&] { return waiting(echo.server) == 5; }));
  serve_while(loop, [&] { EXPECT_TRUE(echoes(before)); });
  wait_for_all(echo.server);
  EXPECT_EQ(echo.server.connection_count(), 1u);

  echo.server.resume_accepting();
  serve_while(loop, [&] {
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
  });
  EXPECT_EQ(echo.server.connection_count(), 6u);
}

TEST_P(Listeners, AnAddressThatIsListenedOnWhilePausedWaitsToo) {
  EchoServer echo(loop, options());
  echo.server.pause_accepting();
  const SocketAddress address = echo.listen();
  TestClient client(address);
  EXPECT_TRUE(run_until(loop, [&] { return waiting(echo.server) == 1; }));
  wait_for_all(echo.server);
  EXPECT_EQ(echo.server.connection_count(), 0u);
  echo.server.resume_accepting();
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
}

TEST_P(Listeners, AShutdownServesThoseWhoWaitWhilePaused) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  echo.server.pause_accepting();
  wait_for_all(echo.server);
  TestClient client(address);
  client.send_all("ping");
  ASSERT_TRUE(run_until(loop, [&] { return waiting(echo.server) == 1; }));
  bool done = false;
  echo.server.shutdown(5s, [&] { done = true; });
  std::thread reader([&] {
    EXPECT_EQ(client.receive_until_eof(), "ping");
    client.close();
  });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  reader.join();
  EXPECT_EQ(echo.closed, 1u);
}

// Both before the loop commits its interest, with readiness reported between.
TEST(ListenersOnOneLoop, F05_PausedAndResumedInsideOnOpenNoClientIsForgotten) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    EventLoop loop;
    EchoServer echo(loop, {.trigger = trigger});
    int opened = 0;
    echo.server.on_open([&](TcpConnection&) {
      ++opened;
      echo.server.pause_accepting();
      if (opened % 2 == 0) {
        loop.post([&] { echo.server.resume_accepting(); });
      } else {
        echo.server.resume_accepting();
      }
    });
    const SocketAddress address = echo.listen();
    std::vector<TestClient> clients;
    for (int i = 0; i < 50; ++i) clients.emplace_back(address);
    EXPECT_TRUE(run_until(loop, [&] { return opened == 50; })) << opened;
  }
}

TEST(ListenersOnOneLoop, PausedInsideOnOpenNoOtherIsAcceptedInThatTurn) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    EventLoop loop;
    EchoServer echo(loop, {.trigger = trigger});
    int opened = 0;
    echo.server.on_open([&](TcpConnection&) {
      ++opened;
      echo.server.pause_accepting();
    });
    const SocketAddress address = echo.listen();
    std::vector<TestClient> clients;
    for (int i = 0; i < 10; ++i) clients.emplace_back(address);
    for (int i = 1; i <= 3; ++i) {
      ASSERT_TRUE(run_until(loop, [&] { return opened >= i; }));
      run_turns(loop, 5);
      EXPECT_EQ(opened, i);
      echo.server.resume_accepting();
    }
  }
}

// A listener that others go on with is out of epoll already when it takes what is queued.
TEST(ListenersOnOneLoop, F06_PausedOrResumedInsideOnOpenOfOneWhoWasQueuedWhenAListenerIsLeft) {
  for (const bool lent : {false, true}) {
    for (const bool resumes : {false, true}) {
      SCOPED_TRACE(std::string(lent ? "lent" : "ours") + (resumes ? ", resumes" : ""));
      EventLoop loop;
      EchoServer echo(loop, {.accept = AcceptMode::exclusive});
      echo.server.on_open([&](TcpConnection&) {
        ++echo.opened;
        echo.server.pause_accepting();
        if (resumes) echo.server.resume_accepting();
      });
      auto socket = ListeningSocket::open(SocketAddress::parse("127.0.0.1:0").value(), {});
      ASSERT_TRUE(socket);
      const SocketAddress address = socket->address();
      if (lent) socket->set_lent();
      ASSERT_TRUE(echo.server.listen(std::move(*socket)));
      std::vector<TestClient> clients;
      for (int i = 0; i < 3; ++i) clients.emplace_back(address).send_all("ping");
      bool done = false;
      echo.server.shutdown({.deadline = 3s, .leave_listeners = !lent}, [&] { done = true; });
      serve_while(loop, [&] {
        for (TestClient& client : clients) {
          EXPECT_EQ(client.receive_until_eof(), "ping");
          client.close();
        }
      });
      EXPECT_TRUE(run_until(loop, [&] { return done; }));
      EXPECT_EQ(echo.opened, 3u);
    }
  }
}

TEST(ListenersOnOneLoop, APausedListenerRests) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen();
  echo.server.pause_accepting();
  TestClient client(address);
  EXPECT_TRUE(rests(loop, faults));
}

// --- close_listener() ----------------------------------------------------------------------------

TEST_P(Listeners, AClosedAddressRefusesWhileTheOtherAndItsConnectionsGoOn) {
  EchoServer echo(loop, options());
  const SocketAddress closed = echo.listen();
  const SocketAddress other = echo.listen();
  TestClient connected(closed);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(connected)); });
  bool done = false;
  ASSERT_TRUE(echo.server.close_listener(closed, [&] { done = true; }).has_value());
  EXPECT_FALSE(done);
  ASSERT_TRUE(run_until(loop, [&] { return done; }));

  TestClient late;
  EXPECT_EQ(late.try_connect(closed), ECONNREFUSED);
  TestClient elsewhere(other);
  serve_while(loop, [&] {
    EXPECT_TRUE(echoes(connected));
    EXPECT_TRUE(echoes(elsewhere));
  });
  EXPECT_EQ(echo.server.stats().accepted, 2u);
  EXPECT_EQ(echo.server.stats().connections, 2u);
  for (const auto& queue : echo.server.stats().accept_queues) EXPECT_EQ(queue.address, other);

  ASSERT_TRUE(echo.server.listen(closed).has_value()) << "the address is not free";
  TestClient again(closed);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(again)); });
}

TEST_P(Listeners, F42_WhatIsQueuedAtTheCloseOfAnAddressIsServed) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  echo.server.pause_accepting();
  wait_for_all(echo.server);
  std::vector<TestClient> clients;
  for (int i = 0; i < 20; ++i) clients.emplace_back(address);
  ASSERT_TRUE(run_until(loop, [&] { return waiting(echo.server) == 20; }));
  bool done = false;
  ASSERT_TRUE(echo.server.close_listener(address, [&] { done = true; }).has_value());
  ASSERT_TRUE(run_until(loop, [&] { return done; }));
  serve_while(loop, [&] {
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
  });
}

TEST_P(Listeners, AShutdownWhileAnAddressClosesEndsBoth) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  int done = 0;
  ASSERT_TRUE(echo.server.close_listener(address, [&] { ++done; }).has_value());
  echo.server.shutdown(5s, [&] { ++done; });
  EXPECT_TRUE(run_until(loop, [&] { return done == 2; }));
}

TEST_P(Listeners, AServerDestroyedWhileAnAddressClosesCallsNothing) {
  bool done = false;
  {
    EchoServer echo(loop, options());
    ASSERT_TRUE(echo.server.close_listener(echo.listen(), [&] { done = true; }).has_value());
  }
  run_for(loop, 100ms);
  EXPECT_FALSE(done);
}

TEST(ListenersOnOneLoop, AnAddressIsClosedOnce) {
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen();
  const auto unknown = echo.server.close_listener(SocketAddress::parse("127.0.0.1:1").value());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message(),
            "stop listening on 127.0.0.1:1: the server does not listen there");
  bool done = false;
  EXPECT_TRUE(echo.server.close_listener(address, [&] { done = true; }).has_value());
  EXPECT_FALSE(echo.server.close_listener(address).has_value());
  EXPECT_TRUE(echo.server.duplicate_listeners().value().empty());
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_FALSE(echo.server.close_listener(address).has_value());
}

TEST(ListenersOnOneLoop, TheFileOfAClosedUnixAddressIsGone) {
  const std::string path = ::testing::TempDir() + "weir_closed_" + std::to_string(::getpid());
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen("unix:" + path);
  ASSERT_TRUE(std::filesystem::exists(path));
  bool done = false;
  ASSERT_TRUE(echo.server.close_listener(address, [&] { done = true; }).has_value());
  ASSERT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace weir::test
