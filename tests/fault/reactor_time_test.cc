// Time and fairness: interrupted waits, rounding, jumps of the clock, phases that must not starve
// each other.
#include <gtest/gtest.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "support/allocations.h"
#include "support/handlers.h"
#include "support/loop_harness.h"
#include "support/spin_oracle.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/epoll_poller.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class ReactorTime : public ::testing::Test, public LoopHarness {};

// -- F15 ---------------------------------------------------------------------------------

TEST_F(ReactorTime, F15_AnInterruptedWaitIsResumedForTheTimeThatIsLeft) {
  faults.on(Call::epoll_pwait2).first(50).fail(EINTR);
  const TimePoint start = Clock::now();
  TimePoint fired;
  loop.run_after(30ms, [&] {
    fired = Clock::now();
    loop.stop();
  });
  loop.run();
  EXPECT_GE(fired - start, 30ms);
  EXPECT_EQ(faults.failed(Call::epoll_pwait2), 50u);
}

void do_nothing(int) {}

TEST_F(ReactorTime, F15_AStormOfRealInterruptsDelaysNoTimer) {
  struct sigaction old {};
  struct sigaction action {};
  action.sa_handler = do_nothing;
  action.sa_flags =
      SA_RESTART;  // for the test's own calls; epoll_wait(2) is interrupted all the same
  ::sigaction(SIGALRM, &action, &old);
  const itimerval storm{.it_interval = {0, 1000}, .it_value = {0, 1000}};
  ::setitimer(ITIMER_REAL, &storm, nullptr);
  const TimePoint start = Clock::now();
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) { static_cast<void>(take(watched.pair.ours)); };
  TimePoint fired;
  loop.run_after(20ms, [&] { put(watched.pair.theirs); });
  loop.run_after(100ms, [&] {
    fired = Clock::now();
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(run_until(loop, [&] { return watched.handler.calls > 0; }));
  const itimerval off{};
  ::setitimer(ITIMER_REAL, &off, nullptr);
  ::sigaction(SIGALRM, &old, nullptr);
  EXPECT_GE(fired - start, 100ms);
  EXPECT_EQ(watched.handler.calls, 1);
}

TEST_F(ReactorTime, F15_MillisecondsAreRoundedUp) {
  faults.on(Call::epoll_pwait2).always().fail(ENOSYS);
  const TimePoint start = Clock::now();
  TimePoint fired;
  loop.run_after(2'300us, [&] {
    fired = Clock::now();
    loop.stop();
  });
  loop.run();
  EXPECT_GE(fired - start, 2'300us) << "never early";
  EXPECT_LE(faults.count(Call::epoll_wait), 3u) << "no spinning through the last millisecond";
  EXPECT_EQ(faults.count(Call::epoll_pwait2), 1u) << "turned down once, not asked again";
  EXPECT_TRUE(rests(loop, faults, 200ms));
}

TEST_F(ReactorTime, F15_TimeoutsBeyondTwentyFourDaysAreCut) {
  faults.on(Call::epoll_pwait2).always().fail(ENOSYS);
  const TimerId far = loop.run_after(std::chrono::hours(24 * 365 * 200), [] { FAIL(); });
  std::thread other([&] {
    EXPECT_TRUE(wait_until([&] { return faults.count(Call::epoll_wait) > 0; }));
    loop.stop();
  });
  loop.run();
  other.join();
  EXPECT_GT(faults.last_timeout(), std::chrono::hours(24 * 24));
  loop.cancel(far);
  loop.run_after(Duration::max(), [] { FAIL(); });
  EXPECT_TRUE(rests(loop, faults, 100ms));
}

TEST_F(ReactorTime, F15_NanosecondTimersDoNotSpin) {
  const TimePoint start = Clock::now();
  loop.run_after(5'000'001ns, [&] { loop.stop(); });
  loop.run();
  EXPECT_GE(Clock::now() - start, 5'000'001ns);
  EXPECT_LE(faults.waits(), 3u);
}

TEST_F(ReactorTime, F15_AnotherErrorOfTheWaitLeavesRun) {
  faults.on(Call::epoll_pwait2).nth(1).fail(EINVAL);
  EXPECT_THROW(loop.run(), SystemError);
  run_turn(loop);
}

// -- F50 ---------------------------------------------------------------------------------

TEST_F(ReactorTime, F50_TheWallClockIsNeverLookedAt) {
  int fired = 0;
  int early = 0;
  const TimerId far = loop.run_after(2h, [&] { ++early; });
  loop.run_after(20ms, [&] { ++fired; });
  loop.run_every(5ms, [] {});
  for (const Duration jump : {Duration(std::chrono::hours(24 * 365)),
                              Duration(std::chrono::hours(-24 * 730)), Duration(1h)}) {
    faults.advance_wall_clock(jump);
    run_for(loop, 2ms);
  }
  EXPECT_EQ(early, 0);
  EXPECT_TRUE(run_until(loop, [&] { return fired == 1; }));
  EXPECT_TRUE(loop.cancel(far));
  int wall_clock_reads = 0;
  faults.on(Call::clock_gettime).argument(CLOCK_REALTIME).hook([&] { ++wall_clock_reads; });
  run_for(loop, 5ms);
  EXPECT_EQ(wall_clock_reads, 0);
  EXPECT_GT(faults.count(Call::clock_gettime), 0u);
}

TEST_F(ReactorTime, F53_AStallOfTenSecondsMakesNoBurst) {
  int repeats = 0;
  std::vector<int> order;
  loop.run_every(10ms, [&] { ++repeats; });
  loop.run_after(30ms, [&] { order.push_back(2); });
  loop.run_after(20ms, [&] { order.push_back(1); });
  const TimePoint same = Clock::now() + 40ms;
  loop.run_at(same, [&] { order.push_back(3); });
  loop.run_at(same, [&] { order.push_back(4); });
  run_turn(loop);
  const int before = repeats;
  faults.advance_clock(10s);
  run_turn(loop);
  EXPECT_LE(repeats - before, 1);
  EXPECT_EQ(order, (std::vector{1, 2, 3, 4})) << "by deadline, then by insertion";
}

TEST_F(ReactorTime, AHugeJumpForwardIsSurvived) {
  int fired = 0;
  loop.run_every(1ms, [&] { ++fired; });
  run_turn(loop);
  const int before = fired;
  faults.advance_clock(std::chrono::hours(24 * 400));
  run_turn(loop);
  EXPECT_EQ(fired, before + 1);
  EXPECT_TRUE(run_until(loop, [&] { return fired > before + 3; }));
}

// -- F14, F52, F55, F58: fairness --------------------------------------------------------

// The worst distance between two turns' looks at a timer and at I/O, with one of them overloaded.
TEST_F(ReactorTime, F14_ATimerIsServedWhileEverythingIsReady) {
  constexpr std::size_t kChannels = 2000;
  std::vector<std::unique_ptr<Watched>> watched;
  std::uint64_t reads = 0;
  for (std::size_t i = 0; i < kChannels; ++i) {
    watched.push_back(std::make_unique<Watched>(loop));
    put(watched.back()->pair.theirs);  // never read: ready for ever
    watched.back()->handler.ready = [&](std::uint32_t) { ++reads; };
  }
  int ticks = 0;
  std::uint64_t reads_at_last_tick = 0;
  std::uint64_t most_between = 0;
  loop.run_every(1ms, [&] {
    ++ticks;
    most_between = std::max(most_between, reads - reads_at_last_tick);
    reads_at_last_tick = reads;
  });
  EXPECT_TRUE(run_until(
      loop, [&] { return ticks >= 20 && reads > 100'000; }, 20s));
  // Every channel had its share, and the timer was looked at after every batch.
  for (const auto& each : watched) EXPECT_GT(each->handler.calls, 0);
  const EventLoop::Stats stats = loop.stats();
  EXPECT_LE(stats.events / stats.turns, internal::EpollPoller::kMaxEventsPerTurn);
}

TEST_F(ReactorTime, F14_IoIsServedWhileTimersAndTasksRepostThemselves) {
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) { static_cast<void>(take(watched.pair.ours)); };
  std::function<void()> timer = [&] { loop.run_after(0ns, timer); };
  std::function<void()> task = [&] { loop.post(task); };
  timer();
  task();
  for (int i = 1; i <= 100; ++i) {
    put(watched.pair.theirs);
    run_turn(loop);
    ASSERT_EQ(watched.handler.calls, i) << "in the very next turn";
  }
  timer = [] {};
  task = [] {};
  run_turn(loop);
}

TEST_F(ReactorTime, F52_AZeroTimerThatRearmsItselfLeavesEveryTurnItsWait) {
  std::uint64_t fired = 0;
  std::function<void()> again = [&] {
    ++fired;
    loop.run_after(0ns, again);
  };
  again();
  const std::uint64_t waits = faults.waits();
  run_for(loop, 20ms);
  // One firing a turn, and epoll is asked in each.
  EXPECT_LE(fired, faults.waits() - waits + 2);
  EXPECT_GT(fired, 10u);
  again = [] {};
}

TEST_F(ReactorTime, F55_AMillionTimersOfALoopLeaveNothing) {
  const HeapCheck heap;
  EventLoop million;
  std::size_t ran = 0;
  std::vector<TimerId> ids;
  ids.reserve(1'000'000);
  const TimePoint base = Clock::now();
  for (int i = 0; i < 1'000'000; ++i) {
    ids.push_back(million.run_at(base + Duration((i * 7919LL) % 1'000'003), [&ran] { ++ran; }));
  }
  for (std::size_t i = 0; i < ids.size(); i += 2) EXPECT_TRUE(million.cancel(ids[i]));
  while (ran < 500'000) run_turn(million);
  EXPECT_EQ(million.stats().timers, 500'000u);
  std::vector<TimerId>().swap(ids);
  EXPECT_LT(heap.grown(), 1'000'000);
}

TEST_F(ReactorTime, F58_AStormOfPostsKeepsOrderAndLetsIoThrough) {
  constexpr int kProducers = 8;
  constexpr int kPosts = 50'000;
  std::array<int, kProducers> last{};
  int out_of_order = 0;
  int done = 0;
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) { static_cast<void>(take(watched.pair.ours)); };
  std::vector<std::thread> producers;
  for (std::size_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 1; i <= kPosts; ++i) {
        loop.post([&, p, i] {
          if (last[p] != i - 1) ++out_of_order;
          last[p] = i;
          if (++done % 1000 == 0) put(watched.pair.theirs);
        });
      }
    });
  }
  EXPECT_TRUE(run_until(
      loop, [&] { return done == kProducers * kPosts; }, 60s));
  for (auto& producer : producers) producer.join();
  EXPECT_EQ(out_of_order, 0);
  EXPECT_GT(watched.handler.calls, 10);
  const EventLoop::Stats stats = loop.stats();
  EXPECT_LT(stats.wakeups, stats.tasks / 10) << "one wake-up a burst";
}

TEST_F(ReactorTime, F58_TheMemoryOfAStormIsGivenBack) {
  if (!AllocationCount::available()) GTEST_SKIP() << "a sanitizer has its own operator new";
  run_turn(loop);
  const std::int64_t before = live_heap().bytes;
  for (int storm = 0; storm < 2; ++storm) {
    for (int i = 0; i < 500'000; ++i) loop.post([] {});
    while (loop.stats().tasks < 500'000u * static_cast<unsigned>(storm + 1)) run_turn(loop);
  }
  run_turns(loop, 4);
  EXPECT_LT(live_heap().bytes - before, 2'000'000);
}

}  // namespace
}  // namespace weir::test
