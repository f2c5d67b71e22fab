// Callbacks that hold their loop: found, named, and, if asked for, shown with their stack.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/handlers.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/sys/thread.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// The thing that a callback must not do.
void block(Duration time) {
  const TimePoint end = Clock::now() + time;
  while (Clock::now() < end) std::this_thread::sleep_for(1ms);
}

constexpr Duration kThreshold = 20ms;
constexpr Duration kTooLong = 40ms;

TEST(Stalls, F64_EveryKindOfCallbackIsCounted) {
  EventLoop loop({.stall_threshold = kThreshold});
  const auto counts_after = [&](auto&& set_up) {
    const auto before = loop.stats().stalls;
    set_up();
    run_turns(loop, 3);
    return loop.stats().stalls > before;
  };
  EXPECT_TRUE(counts_after([&] { loop.post([] { block(kTooLong); }); }));
  EXPECT_TRUE(counts_after([&] { loop.run_after(Duration::zero(), [] { block(kTooLong); }); }));
  struct Slow final : internal::Kept {
    ~Slow() { block(kTooLong); }
  };
  EXPECT_TRUE(
      counts_after([&] { internal::core_of(loop).keep_until_reaped(std::make_shared<Slow>()); }));
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) {
    block(kTooLong);
    take(watched.pair.ours);
  };
  EXPECT_TRUE(counts_after([&] { put(watched.pair.theirs); }));
}

TEST(Stalls, F64_TheLogNamesTheCallbackAndHowLongItTook) {
  EventLoop loop({.stall_threshold = kThreshold});
  const AllowLog log("the handler of fd ");
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) {
    block(kTooLong);
    take(watched.pair.ours);
  };
  // Once a second at most: another test may just have had its line.
  EXPECT_TRUE(run_until(loop, [&] {
    if (log.count() == 0) put(watched.pair.theirs);
    return log.count() > 0;
  }));
  ASSERT_GE(log.count(), 1u);
  const std::string line = log.lines().front();
  EXPECT_NE(line.find("fd " + std::to_string(watched.pair.ours.get()) + " held the loop for "),
            std::string::npos)
      << line;
  EXPECT_NE(line.find("threshold 20.0 ms"), std::string::npos) << line;
}

Duration cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec);
}

void compute(Duration time) {
  const Duration end = cpu_time() + time;
  while (cpu_time() < end) {
  }
}

// One callback after the other until its line has come: there is one a second at most, and for the
// first of them the loop does not know the cause.
bool line_comes(EventLoop& loop, const std::string& cause, const std::function<void()>& callback) {
  const AllowLog log(" ms, " + cause);
  return run_until(loop, [&] {
    if (log.count() == 0) loop.post([&] { callback(); });
    return log.count() > 0;
  });
}

TEST(Stalls, F64_TheLogSaysWhetherItComputedOrWaited) {
  EventLoop loop({.stall_threshold = kThreshold});
  EXPECT_TRUE(line_comes(loop, "computing; others waited", [] { compute(kTooLong); }));
  EXPECT_TRUE(line_comes(loop, "waiting for ", [] { std::this_thread::sleep_for(kTooLong); }));
}

// The loop's thread gets what another on the same processor leaves: next to nothing.
TEST(Stalls, F64_AThreadThatGetsNoProcessorIsNotTheCallbacksFault) {
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
    // On the same processor, by inheritance. With them this thread gets an eighth of it. (As
    // SCHED_IDLE it got nothing for seconds while other programs were running.)
    std::atomic<bool> done = false;
    std::array<std::jthread, 7> greedy;
    for (std::jthread& thread : greedy) {
      thread = std::jthread([&done] {
        while (!done) {
        }
      });
    }
    EventLoop loop({.stall_threshold = kThreshold});
    const TimePoint end = Clock::now() + kDeadline;
    while (loop.stats().preempted == 0 && Clock::now() < end) {
      loop.post([] {
        const TimePoint until = Clock::now() + kTooLong;
        while (Clock::now() < until) {
        }
      });
      run_turn(loop);
    }
    EXPECT_GE(loop.stats().preempted, 1u);
    done = true;
  }).join();
}

// Each takes less than the threshold, all of them much more.
TEST(Stalls, F64_ManyClientsInOnePhaseAreNoStall) {
  static constexpr Duration kEach = kThreshold / 2;
  struct Client final : internal::FlushClient {
    void on_deadline() override { compute(kEach); }
    void on_flush() override { compute(kEach); }
    void on_reap() override { compute(kEach); }
  };
  EventLoop loop({.stall_threshold = kThreshold});
  loop.post([] { compute(kTooLong); });  // from now on it knows whether it gets the processor
  run_turn(loop);
  const std::uint64_t before = loop.stats().stalls;
  std::array<Client, 8> clients;
  for (Client& client : clients) {
    internal::core_of(loop).flush_later(client);
    internal::core_of(loop).reap_later(client);
    internal::core_of(loop).set_deadline(client, internal::core_of(loop).tick() + 1);
  }
  run_for(loop, 8 * 3 * kEach);
  EXPECT_EQ(loop.stats().stalls, before);
}

TEST(Stalls, F64_TheLogIsLimitedToOneLineASecond) {
  EventLoop loop({.stall_threshold = 1ms});
  const AllowLog log(" held the loop for ");
  const TimePoint start = Clock::now();
  for (int i = 0; i < 20; ++i) {
    loop.post([] { block(3ms); });
    run_turn(loop);
  }
  const auto seconds = static_cast<std::size_t>((Clock::now() - start) / 1s);
  EXPECT_GE(loop.stats().stalls, 20u);
  EXPECT_LE(log.count(), seconds + 2);
}

TEST(Stalls, F64_ManyCallbacksOfATurnAreNoStall) {
  EventLoop loop({.stall_threshold = 1s});
  for (int i = 0; i < 4; ++i) loop.post([] { block(300ms); });
  run_for(loop, 5ms);  // a turn is counted when the next one begins
  EXPECT_EQ(loop.stats().stalls, 0u);
  EXPECT_GE(loop.stats().turn_time(100), 1s);
}

TEST(Stalls, F64_ItCanBeTurnedOff) {
  EventLoop loop({.stall_threshold = Duration::zero(), .stall_stacks = true});
  loop.post([] { block(kTooLong); });
  run_turn(loop);
  EXPECT_EQ(loop.stats().stalls, 0u);
}

// The clock of a simulated network may jump as it likes.
TEST(Stalls, F50_AClockThatJumpsIsNoStall) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop({.stall_threshold = 2s});
  loop.post([&] { faults.advance_clock(1h); });
  run_for(loop, 5ms);
  EXPECT_EQ(loop.stats().stalls, 0u);
  EXPECT_GE(loop.stats().turn_time(100), 5s) << "of the loop's own clock; the last bucket";
}

TEST(Stalls, F64_TurnTimesAreAHistogram) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EXPECT_EQ(loop.stats().turn_time(50), Duration::zero());
  int short_turns = 0;
  std::function<void()> again = [&] {
    if (++short_turns < 100) loop.post([&] { again(); });
  };
  loop.post([&] { again(); });
  EXPECT_TRUE(run_until(loop, [&] { return short_turns == 100; }));
  loop.post([&] { faults.advance_clock(100ms); });
  run_for(loop, 5ms);
  const EventLoop::Stats stats = loop.stats();
  const auto counted =
      std::accumulate(stats.turn_times.begin(), stats.turn_times.end(), std::uint64_t{0});
  EXPECT_LE(counted, stats.turns);
  EXPECT_GE(stats.turn_time(100), 100ms);
  EXPECT_LE(stats.turn_time(50), 100ms);
}

TEST(Stalls, F64_TheStackIsTakenWhileItIsStuck) {
  EventLoop loop({.stall_threshold = kThreshold, .stall_stacks = true});
  const AllowLog log("has held its loop for ");
  loop.run_after(Duration::zero(),
                 [&] { static_cast<void>(wait_until([&] { return log.count() > 0; })); });
  run_turn(loop);
  ASSERT_GE(log.count(), 1u);
  const std::string line = log.lines().front();
  EXPECT_NE(line.find("a timer"), std::string::npos) << line;
  EXPECT_NE(line.find("fault_reactor"), std::string::npos) << "frames of this program: " << line;
  EXPECT_GE(loop.stats().stalls, 1u);
}

// Threads of weir block every signal but this one.
TEST(Stalls, F64_LoopsOfAPoolHaveStacksToo) {
  const AllowLog log("has held its loop for ");
  auto pool = LoopPool::create(2, {.stall_threshold = kThreshold, .stall_stacks = true});
  ASSERT_TRUE(pool);
  std::atomic<bool> done = false;
  (*pool)->next().post([&] {
    static_cast<void>(wait_until([&] { return log.count() > 0; }));
    done = true;
  });
  EXPECT_TRUE(wait_until([&] { return done.load(); }, 10s));
  ASSERT_GE(log.count(), 1u);
  EXPECT_NE(log.lines().front().find("fault_reactor"), std::string::npos) << log.lines().front();
}

TEST(Stalls, F64_ALoopThatWasLeftByAnExceptionIsNotStuck) {
  EventLoop loop({.stall_threshold = kThreshold, .stall_stacks = true});
  const AllowLog log("has held its loop for ");
  loop.post([] { throw std::runtime_error("enough"); });
  EXPECT_THROW(loop.run(), std::runtime_error);
  EXPECT_FALSE(wait_until([&] { return log.count() > 0; }, 5 * kThreshold));
}

// The watchdog's thread comes with the first loop and goes with the last, again and again; the
// harness looks for what is left.
TEST(Stalls, F64_TheWatchdogGoesWithTheLastLoop) {
  for (int round = 0; round < 20; ++round) {
    EventLoop loop({.stall_stacks = true});
    on_other_thread([] {
      EventLoop other({.stall_stacks = true});
      run_turn(other);
    });
    run_turn(loop);
  }
  SUCCEED();
}

TEST(Stalls, F57_WithoutAThreadForItALoopGoesOnWithoutStacks) {
  const AllowLog log("no stacks of stalls");
  FaultTable faults;
  const ScopedFaults use(faults);
  const sigset_t before = internal::sys::signal_mask();
  faults.on(Call::pthread_create).nth(1).fail(EAGAIN);
  {
    const auto loop = EventLoop::create({.stall_stacks = true});
    ASSERT_TRUE(loop);
    run_turn(**loop);
  }
  EXPECT_EQ(log.count(), 1u);
  const sigset_t after = internal::sys::signal_mask();
  EXPECT_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
  const EventLoop loop({.stall_stacks = true});
  EXPECT_TRUE(wait_until([] { return threads_of_weir() == 1; })) << "it names itself once it runs";
}

// While the watchdog waits for the stack of a loop it holds its mutex, and in a child of fork() it
// would hold it for ever.
TEST(Stalls, F17_AChildMayDestroyItsLoopWhileAnotherIsStuck) {
  const AllowLog log("has held its loop for ");
  auto loop = EventLoop::create({.stall_threshold = kThreshold, .stall_stacks = true});
  ASSERT_TRUE(loop);
  std::atomic<bool> stuck = false;
  std::thread other([&] {
    EventLoop mute({.stall_threshold = kThreshold, .stall_stacks = true});
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    mute.post([&] {
      stuck = true;
      static_cast<void>(wait_until([&] { return log.count() > 0; }));
    });
    run_turn(mute);
  });
  EXPECT_TRUE(wait_until([&] { return stuck.load(); }));
  block(3 * kThreshold);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(5);
    loop->reset();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "status " << status;
  other.join();
}

}  // namespace
}  // namespace weir::test
