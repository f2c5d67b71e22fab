// weir::testing, as a user's tests use it.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/testing/connected_pair.h"
#include "weir/net/testing/fake_clock.h"
#include "weir/net/testing/run_until.h"

namespace weir::testing {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// Notes everything, and answers each "ping" with "pong".
struct Noting final : ConnectionHandler {
  std::vector<std::string> events;
  std::string received;
  void on_open(TcpConnection&) override { events.emplace_back("open"); }
  void on_data(TcpConnection& connection, Buffer& in) override {
    const std::string bytes = in.take();
    received += bytes;
    if (bytes == "ping") connection.send("pong");
  }
  void on_half_close(TcpConnection&) override { events.emplace_back("half-close"); }
  void on_close(TcpConnection&, CloseReason reason) override {
    events.push_back(reason.to_string());
  }
};

struct Pair {
  explicit Pair(TcpServer::Options options = {}) : pair(loop, server, client, options) {}
  EventLoop loop;
  std::shared_ptr<Noting> server = std::make_shared<Noting>();
  std::shared_ptr<Noting> client = std::make_shared<Noting>();
  ConnectedPair pair;
};

TEST(ConnectedPair, BothHandlersAreCalled) {
  Pair on;
  EXPECT_EQ(on.server->events, std::vector<std::string>{"open"});
  EXPECT_EQ(on.client->events, std::vector<std::string>{"open"});
  on.pair.second()->send("ping");
  EXPECT_TRUE(run_until(on.loop, [&] { return on.client->received == "pong"; }));
  EXPECT_EQ(on.server->received, "ping");

  on.pair.second()->close();
  EXPECT_TRUE(run_until(on.loop, [&] { return on.pair.first() == nullptr; }));
  EXPECT_TRUE(run_until(on.loop, [&] { return on.pair.second() == nullptr; }));
  EXPECT_EQ(on.server->events, (std::vector<std::string>{"open", "half-close", "peer_eof"}));
  EXPECT_EQ(on.client->events, (std::vector<std::string>{"open", "local_close"}));
}

TEST(ConnectedPair, DestroyedOpenItCallsNothing) {
  EventLoop loop;
  const auto handler = std::make_shared<Noting>();
  {
    ConnectedPair pair(loop, handler, handler);
    pair.first()->send("ping");
  }
  run_turn(loop);
  EXPECT_EQ(handler->events, (std::vector<std::string>{"open", "open"}));
}

TEST(RunUntil, TheDeadlineIsRealTimeAndAConditionThatHoldsNeedsNoTurn) {
  EventLoop loop;
  EXPECT_FALSE(run_until(
      loop, [] { return false; }, 5ms));
  const auto turns = loop.stats().turns;
  EXPECT_TRUE(run_until(loop, [] { return true; }));
  EXPECT_EQ(loop.stats().turns, turns);
}

TEST(FakeClock, TimersRunWhenTheTestSaysSo) {
  FakeClock clock;
  EventLoop loop;
  int runs = 0;
  loop.run_after(5min, [&] { ++runs; });
  run_turn(loop);
  clock.advance(5min - 1ns);
  run_turn(loop);
  EXPECT_EQ(runs, 0);
  clock.advance(1ns);
  run_turn(loop);
  EXPECT_EQ(runs, 1);
}

TEST(FakeClock, DeadlinesOfConnectionsFollowIt) {
  FakeClock clock;
  Pair on({.idle_timeout = 10min});
  for (int minute = 0; minute < 9; ++minute) {
    clock.advance(1min);
    run_turn(on.loop);
  }
  ASSERT_NE(on.pair.first(), nullptr);
  clock.advance(2min);
  EXPECT_TRUE(run_until(on.loop, [&] { return on.pair.first() == nullptr; }));
  EXPECT_NE(on.server->events.back().find("timeout"), std::string::npos);
}

TEST(FakeClock, AfterItTimeIsReal) {
  const TimePoint before = Clock::now();
  {
    FakeClock clock;
    clock.advance(24h);
    EXPECT_GE(clock.now() - before, 24h);
  }
  EventLoop loop;
  EXPECT_LT(loop.now() - before, 1h);
}

}  // namespace
}  // namespace weir::testing
