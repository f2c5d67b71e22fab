// What holds for a weir loop inside any other: connections, timers, deadlines and posts work, and a
// host with nothing to do sleeps. A Host has
//
//   explicit Host(EventLoop& loop);   the other loop, with `loop` in it
//   void set_tick(Duration every);    a timer of its own, which counts in `ticks`; zero: none
//   void iterate();                   one round of it, which sleeps until something happens
//   int ticks;
//   bool stopped;                     EventLoop::stop() has arrived
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "support/loops.h"
#include "weir/base/clock.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

using namespace std::chrono_literals;

template <typename Host>
class Embedded : public ::testing::Test {
 protected:
  // Before the first test, so that what the other loop's library opens for good is no leak of it.
  static void SetUpTestSuite() {
    EventLoop loop;
    Host host(loop);
    loop.post([] {});
    host.iterate();
  }

  // The rounds that it took; fails the test after the deadline, of which a timer makes sure.
  int run_until(const std::function<bool()>& done) {
    bool late = false;
    const TimerId deadline = loop_.run_after(kDeadline, [&] { late = true; });
    int rounds = 0;
    for (; !done() && !late; ++rounds) host_.iterate();
    loop_.cancel(deadline);
    EXPECT_FALSE(late) << "after " << rounds << " rounds";
    return rounds;
  }

  EventLoop loop_{{.stall_threshold = {}}};
  Host host_{loop_};
};

TYPED_TEST_SUITE_P(Embedded);

TYPED_TEST_P(Embedded, ConnectionsAreServedBesideTheHostsTimer) {
  EventLoop& loop = this->loop_;
  TcpServer server(loop);
  server.on_data([](TcpConnection& c, Buffer& in) { c.send(in); });
  const auto address = server.listen("127.0.0.1:0");
  ASSERT_TRUE(address);
  const std::string sent(4 * 1024 * 1024, 'x');
  std::size_t received = 0;
  bool ended = false;
  TcpClient client(loop, {.high_water = 8 * 1024 * 1024, .max_output = 8 * 1024 * 1024});
  client.on_open([&](TcpConnection& c) { c.send(sent); });
  client.on_data([&](TcpConnection& c, Buffer& in) {
    received += in.size();
    in.clear();
    if (received == sent.size()) c.close();
  });
  client.on_close([&](TcpConnection&, CloseReason) { ended = true; });
  this->host_.set_tick(1ms);
  ASSERT_TRUE(client.connect(*address));
  this->run_until([&] { return ended && this->host_.ticks >= 3; });
  EXPECT_EQ(received, sent.size());
  bool done = false;
  server.shutdown(1s, [&] { done = true; });
  this->run_until([&] { return done; });
}

TYPED_TEST_P(Embedded, TimersAndDeadlinesComeInTime) {
  EventLoop& loop = this->loop_;
  TcpServer server(loop, {.idle_timeout = 100ms});
  TimePoint opened;
  TimePoint closed;
  server.on_close([&](TcpConnection&, CloseReason why) {
    EXPECT_EQ(why.kind, CloseReason::Kind::idle_timeout);
    closed = Clock::now();
  });
  server.on_open([&](TcpConnection&) { opened = Clock::now(); });
  const auto address = server.listen("127.0.0.1:0");
  ASSERT_TRUE(address);
  TcpClient client(loop);
  ASSERT_TRUE(client.connect(*address));
  const TimePoint set = Clock::now();
  TimePoint ran;
  loop.run_after(30ms, [&] { ran = Clock::now(); });
  this->run_until([&] { return closed != TimePoint() && ran != TimePoint(); });
  EXPECT_GE(ran - set, 30ms);
  EXPECT_GE(closed - opened, 100ms);
}

TYPED_TEST_P(Embedded, APostOfAnotherThreadEndsTheHostsSleep) {
  int ran = 0;
  std::thread poster([&] {
    for (int i = 0; i < 5; ++i) {
      std::this_thread::sleep_for(5ms);  // so that the host sleeps
      this->loop_.post([&] {
        EXPECT_TRUE(this->loop_.in_loop_thread());
        ++ran;
      });
    }
  });
  this->run_until([&] { return ran == 5; });
  poster.join();
}

// A round of the host ends with a timer of weir's, and with nothing else.
TYPED_TEST_P(Embedded, AnIdleHostSleeps) {
  EventLoop& loop = this->loop_;
  TcpServer server(loop);
  const auto address = server.listen("127.0.0.1:0");
  ASSERT_TRUE(address);
  TcpClient client(loop);
  bool open = false;
  client.on_open([&](TcpConnection&) { open = true; });
  ASSERT_TRUE(client.connect(*address));
  this->run_until([&] { return open && server.connection_count() == 1; });
  int timers = 0;
  loop.run_every(10ms, [&] { ++timers; });
  const std::uint64_t turns = loop.stats().turns;
  const int rounds = this->run_until([&] { return timers == 10; });
  // A host may count in milliseconds, and wake up a little too early.
  EXPECT_LE(rounds, 3 * 10 + 5);
  EXPECT_LE(loop.stats().turns - turns, 3u * 10 + 5);
}

TYPED_TEST_P(Embedded, AHostMayUseTheLoopBetweenItsTurns) {
  EventLoop& loop = this->loop_;
  TcpServer server(loop);
  std::string received;
  server.on_data([&](TcpConnection&, Buffer& in) { received += in.take(); });
  const auto address = server.listen("127.0.0.1:0");
  ASSERT_TRUE(address);
  TcpClient client(loop);
  bool open = false;
  client.on_open([&](TcpConnection&) { open = true; });
  ASSERT_TRUE(client.connect(*address));
  this->run_until([&] { return open; });
  ASSERT_NE(client.connection().get(), nullptr);
  client.connection().send("between");
  this->run_until([&] { return received == "between"; });
}

TYPED_TEST_P(Embedded, StopArrives) {
  this->loop_.post([&] { this->loop_.stop(); });
  this->run_until([&] { return this->host_.stopped; });
  this->host_.stopped = false;
  std::thread stopper([&] { this->loop_.stop(); });
  this->run_until([&] { return this->host_.stopped; });
  stopper.join();
}

REGISTER_TYPED_TEST_SUITE_P(Embedded, ConnectionsAreServedBesideTheHostsTimer,
                            TimersAndDeadlinesComeInTime, APostOfAnotherThreadEndsTheHostsSleep,
                            AnIdleHostSleeps, AHostMayUseTheLoopBetweenItsTurns, StopArrives);

}  // namespace weir::test
