// The tests of a weir loop inside any other loop: connections, timers, deadlines and posts work,
// and an idle host sleeps. A Host has
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

#include "support/both_ends.h"
#include "support/loops.h"
#include "weir/base/clock.h"
#include "weir/net/reactor/event_loop.h"

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
  BothEnds ends(this->loop_, {}, {.high_water = 8 * 1024 * 1024, .max_output = 8 * 1024 * 1024});
  const std::string sent(4 * 1024 * 1024, 'x');
  std::size_t received = 0;
  ends.at_server.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
  ends.at_client.on.open = [&](TcpConnection& c) { c.send(sent); };
  ends.at_client.on.data = [&](TcpConnection& c, Buffer& in) {
    received += in.size();
    in.clear();
    if (received == sent.size()) c.close();
  };
  this->host_.set_tick(1ms);
  this->run_until([&] { return ends.at_client.calls.close == 1 && this->host_.ticks >= 3; });
  EXPECT_EQ(received, sent.size());
  bool done = false;
  ends.server.shutdown(1s, [&] { done = true; });
  this->run_until([&] { return done; });
}

TYPED_TEST_P(Embedded, TimersAndDeadlinesComeInTime) {
  BothEnds ends(this->loop_, {.idle_timeout = 100ms});
  TimePoint opened;
  TimePoint closed;
  ends.at_server.on.open = [&](TcpConnection&) { opened = Clock::now(); };
  ends.at_server.on.close = [&](TcpConnection&, CloseReason why) {
    EXPECT_EQ(why.kind, CloseReason::Kind::idle_timeout);
    closed = Clock::now();
  };
  const TimePoint set = Clock::now();
  TimePoint ran;
  this->loop_.run_after(30ms, [&] { ran = Clock::now(); });
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
  const BothEnds ends(loop);
  this->run_until([&] { return ends.open(); });
  int timers = 0;
  loop.run_every(10ms, [&] { ++timers; });
  const std::uint64_t turns = loop.stats().turns;
  const int rounds = this->run_until([&] { return timers == 10; });
  // A host may count in milliseconds, and wake up a little too early.
  EXPECT_LE(rounds, 3 * 10 + 5);
  EXPECT_LE(loop.stats().turns - turns, 3u * 10 + 5);
}

TYPED_TEST_P(Embedded, AHostMayUseTheLoopBetweenItsTurns) {
  const BothEnds ends(this->loop_);
  this->run_until([&] { return ends.open(); });
  ASSERT_NE(ends.at_client.connection(), nullptr);
  ends.at_client.connection()->send("between");
  this->run_until([&] { return ends.at_server.received == "between"; });
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
