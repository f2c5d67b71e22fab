// A thread is the loop's whose turn it runs: two loops on one thread are as far apart as two
// threads.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/handlers.h"
#include "support/in_child.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/run_on.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// Calls fn in a turn of the loop.
void in_turn(EventLoop& loop, const std::function<void()>& fn) {
  loop.post(fn);
  run_turn(loop);
}

TEST(LoopIdentity, IsThatOfTheLoopWhoseTurnRuns) {
  EventLoop a;
  EventLoop b;
  EXPECT_TRUE(a.in_loop_thread() && b.in_loop_thread()) << "both were made here, and neither runs";
  int seen = 0;
  const auto expect_only = [&seen](const EventLoop& in, const EventLoop& out) {
    ++seen;
    EXPECT_TRUE(in.in_loop_thread());
    EXPECT_FALSE(out.in_loop_thread());
  };
  in_turn(a, [&] {
    expect_only(a, b);
    in_turn(b, [&] { expect_only(b, a); });
    expect_only(a, b);
    b.post([] { throw std::runtime_error("out of the inner run()"); });
    EXPECT_THROW(b.run(), std::runtime_error);
    expect_only(a, b);
  });
  EXPECT_TRUE(a.in_loop_thread() && b.in_loop_thread());
  EXPECT_EQ(seen, 4);
}

TEST(LoopIdentity, OfAnotherThreadIsNeverThere) {
  EventLoop a;
  on_other_thread([&] {
    EXPECT_FALSE(a.in_loop_thread());
    EventLoop b;
    in_turn(b, [&] { EXPECT_FALSE(a.in_loop_thread()); });
  });
}

TEST(LoopIdentity, DispatchToAnotherLoopOfTheThreadIsAPost) {
  EventLoop a;
  EventLoop b;
  std::vector<std::string> log;
  in_turn(a, [&] {
    b.dispatch([&] {
      log.push_back("b");
      a.dispatch([&] { log.push_back("a"); });
    });
    log.push_back("first");
  });
  EXPECT_EQ(log, (std::vector<std::string>{"first"}));
  run_turn(b);
  EXPECT_EQ(log, (std::vector<std::string>{"first", "b"}));
  run_turn(a);
  EXPECT_EQ(log, (std::vector<std::string>{"first", "b", "a"}));
}

// Two tasks that answer each other, each on its loop.
TEST(LoopIdentity, APostWakesTheOtherLoop) {
  EventLoop a;
  EventLoop b;
  int left = 100;
  std::function<void(EventLoop&, EventLoop&)> bounce = [&](EventLoop& to, EventLoop& other) {
    EXPECT_TRUE(to.in_loop_thread());
    if (--left > 0) other.post([&] { bounce(other, to); });
  };
  a.post([&] { bounce(a, b); });
  for (int round = 0; round < 50; ++round) {
    run_turn(a);
    run_turn(b);
  }
  EXPECT_EQ(left, 0);
}

TEST(LoopIdentity, RunOnReachesALoopOfTheSameThread) {
  EventLoop a;
  EventLoop b;
  bool ran = false;
  in_turn(a, [&] {
    internal::run_on(b, [&] {
      ran = true;
      EXPECT_TRUE(b.in_loop_thread());
      EXPECT_FALSE(a.in_loop_thread());
    });
    EXPECT_TRUE(ran) << "a post would wait for this turn to end";
  });
}

TEST(LoopIdentity, ALoopComesAndGoesInsideATurnOfAnother) {
  EventLoop a;
  auto given_away = std::make_unique<EventLoop>();
  std::vector<std::string> log;
  in_turn(a, [&] {
    EventLoop inner;
    EXPECT_FALSE(inner.in_loop_thread());
    inner.post([&] {
      inner.run_after(1ms, [&] {
        log.push_back("timer");
        inner.stop();
      });
    });
    inner.run();
    EXPECT_TRUE(a.in_loop_thread());
    given_away->post([&, told = std::shared_ptr<void>(nullptr, [&](void*) {
                           EXPECT_FALSE(a.in_loop_thread());
                           log.push_back("task destroyed");
                         })] {});
    given_away.reset();
    EXPECT_TRUE(a.in_loop_thread());
  });
  EXPECT_EQ(log, (std::vector<std::string>{"timer", "task destroyed"}));
}

TEST(LoopIdentity, ALoopThatCannotBeMadeInsideATurnSaysSo) {
  EventLoop a;
  in_turn(a, [&] {
    FaultTable faults;
    const ScopedFaults use(faults);
    faults.on(Call::epoll_ctl).nth(1).fail(ENOSPC);
    const auto refused = EventLoop::create();
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().code() == ENOSPC);
    EXPECT_TRUE(a.in_loop_thread());
  });
}

TEST(LoopIdentity, AChildOfForkDestroysTheLoopsOfItsThread) {
  auto a = std::make_unique<EventLoop>(EventLoop::Options{.stall_threshold = {}});  // forks
  auto b = std::make_unique<EventLoop>();
  in_turn(*a, [&] {
    EXPECT_TRUE(in_child([&] {
      EXPECT_TRUE(b->forked());
      b.reset();
      EXPECT_TRUE(a->in_loop_thread());
    }));
  });
}

struct WrongCall {
  const char* name;
  std::function<void(EventLoop& b, Channel& of_b)> call;
};

class LoopIdentityDeathTest : public ::testing::TestWithParam<WrongCall> {};

TEST_P(LoopIdentityDeathTest, F60_ACallIntoTheOtherLoopOfTheThreadNamesItself) {
  EventLoop a({.stall_threshold = {}});  // forks
  EventLoop b;
  const SocketPair pair;
  TestHandler handler;
  Channel channel(b, pair.ours.get(), handler);
  EXPECT_DEATH(in_turn(a, [&] { GetParam().call(b, channel); }),
               std::string(GetParam().name) + ".* inside a turn of another loop");
}

INSTANTIATE_TEST_SUITE_P(
    Loop, LoopIdentityDeathTest,
    ::testing::Values(
        WrongCall{"run_after", [](EventLoop& b, Channel&) { b.run_after(1ms, [] {}); }},
        WrongCall{"now", [](EventLoop& b, Channel&) { static_cast<void>(b.now()); }},
        WrongCall{"set_reading", [](EventLoop&, Channel& of_b) { of_b.set_reading(true); }},
        WrongCall{"Channel::remove", [](EventLoop&, Channel& of_b) { of_b.remove(); }}));

}  // namespace
}  // namespace weir::test
