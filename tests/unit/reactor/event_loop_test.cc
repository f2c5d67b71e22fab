#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/allocations.h"
#include "support/fault_table.h"
#include "support/handlers.h"
#include "support/loops.h"
#include "support/spin_oracle.h"
#include "support/valgrind.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class FlushAndReap final : public internal::FlushClient {
 public:
  explicit FlushAndReap(std::vector<std::string>& log) : log_(log) {}

 private:
  void on_deadline() override { log_.push_back("deadline"); }
  void on_flush() override { log_.push_back("flush"); }
  void on_reap() override { log_.push_back("reap"); }
  std::vector<std::string>& log_;
};

TEST(EventLoop, ATurnHasItsOrder) {
  EventLoop loop;
  std::vector<std::string> log;
  FlushAndReap client(log);
  FlushAndReap waiting(log);  // one that is to be reaped has no deadline
  Watched watched(loop);
  put(watched.pair.theirs);
  watched.handler.ready = [&](std::uint32_t) {
    log.push_back("ready");
    static_cast<void>(take(watched.pair.ours));
  };
  internal::core_of(loop).reap_later(client);
  internal::core_of(loop).flush_later(client);
  loop.post([&] {
    log.push_back("task");
    loop.stop();
  });
  loop.run_at(TimePoint::min(), [&] { log.push_back("timer"); });
  internal::core_of(loop).set_deadline(waiting, internal::tick_of(Clock::now()) - 10);
  std::this_thread::sleep_until(Clock::now() + 20ms);  // so that the wheel's next tick has come
  loop.run();
  EXPECT_EQ(log, (std::vector<std::string>{"ready", "timer", "deadline", "task", "flush", "reap"}));
}

TEST(EventLoop, FlushesAndReapsOfAReapWaitForTheNextTurn) {
  EventLoop loop;
  std::vector<std::string> log;
  struct Chained final : internal::FlushClient {
    EventLoop& loop;
    int reaps = 0;
    explicit Chained(EventLoop& l) : loop(l) {}
    void on_deadline() override {}
    void on_flush() override {}
    void on_reap() override {
      if (++reaps < 3) internal::core_of(loop).reap_later(*this);
    }
  } chained(loop);
  internal::core_of(loop).reap_later(chained);
  run_turn(loop);
  EXPECT_EQ(chained.reaps, 1);
  run_turn(loop);
  run_turn(loop);
  run_turn(loop);
  EXPECT_EQ(chained.reaps, 3);
}

// One of many, which may throw when its turn comes.
struct Throwing final : internal::FlushClient {
  bool throws = false;
  int flushes = 0;
  int reaps = 0;
  void on_deadline() override {}
  void on_flush() override {
    ++flushes;
    if (throws) throw std::runtime_error("flush");
  }
  void on_reap() override {
    ++reaps;
    if (throws) throw std::runtime_error("reap");
  }
};

TEST(EventLoop, F62_WhatThrowsInFlushOrReapCostsNobodyElseTheirTurn) {
  EventLoop loop;
  std::array<Throwing, 5> clients;
  clients[2].throws = true;
  for (Throwing& client : clients) {
    internal::core_of(loop).flush_later(client);
    internal::core_of(loop).flush_later(client);  // once is enough
    internal::core_of(loop).reap_later(client);
    internal::core_of(loop).reap_later(client);
  }
  int thrown = 0;
  for (int i = 0; i < 8; ++i) {  // a stop() outlives the exception and takes a run of its own
    try {
      run_turn(loop);
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  EXPECT_EQ(thrown, 2);
  for (const Throwing& client : clients) {
    EXPECT_EQ(client.flushes, 1);
    EXPECT_EQ(client.reaps, 1);
  }
}

TEST(EventLoop, FlushAndReapNeedNoMemory) {
  EventLoop loop;
  std::vector<Throwing> clients(1000);
  const AllocationCount count;
  for (Throwing& client : clients) {
    internal::core_of(loop).flush_later(client);
    internal::core_of(loop).reap_later(client);
  }
  EXPECT_EQ(count.on_this_thread(), 0u);
  run_turns(loop, 20);
  for (const Throwing& client : clients) EXPECT_EQ(client.flushes + client.reaps, 2);
}

TEST(EventLoop, AClientThatIsQueuedOnceMoreIsFlushedOnce) {
  EventLoop loop;
  std::vector<Throwing> clients(3);
  for (const unsigned each : {0U, 1U, 2U, 0U}) {
    internal::core_of(loop).flush_later(clients[each]);
  }
  run_turns(loop, 3);
  for (const Throwing& client : clients) EXPECT_EQ(client.flushes, 1);
}

struct KeptObject final : internal::Kept {};

// More that die together than a turn reaps: the rest follows in the next turns, without sleeping
// and with what is kept for them still there.
TEST(EventLoop, F14_ATurnReapsSoManyAndTheNextGoesOnAtOnce) {
  constexpr std::size_t kMany = 3 * internal::ReapList::kMaxReapedPerTurn + 1;
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  std::vector<Throwing> clients(kMany);
  auto object = std::make_shared<KeptObject>();
  for (Throwing& client : clients) internal::core_of(loop).reap_later(client);
  internal::core_of(loop).keep_until_reaped(object);
  const auto reaped = [&] {
    return static_cast<std::size_t>(
        std::ranges::count_if(clients, [](const Throwing& client) { return client.reaps == 1; }));
  };
  for (std::size_t turn = 1; turn <= 3; ++turn) {
    run_turn(loop);
    EXPECT_EQ(reaped(), turn * internal::ReapList::kMaxReapedPerTurn);
    EXPECT_EQ(object.use_count(), 2);
    EXPECT_EQ(faults.last_timeout(), Duration::zero());
  }
  run_turn(loop);
  EXPECT_EQ(reaped(), kMany);
  EXPECT_EQ(object.use_count(), 1);
}

// Something dies in each turn, and has another die in the next one.
TEST(EventLoop, F14_WhatIsKeptGoesAlsoIfSomethingDiesInEachTurn) {
  struct Dying final : internal::FlushClient {
    explicit Dying(EventLoop& on) : loop(on) {}
    EventLoop& loop;
    Dying* next = nullptr;
    std::vector<std::weak_ptr<KeptObject>> kept;
    void on_deadline() override {}
    void on_flush() override {}
    void on_reap() override {
      if (kept.size() == 100) return;
      const auto object = std::make_shared<KeptObject>();
      kept.push_back(object);
      internal::core_of(loop).keep_until_reaped(object);
      internal::core_of(loop).reap_later(*next);
    }
  };
  EventLoop loop;
  Dying one(loop);
  Dying two(loop);
  one.next = &two;
  two.next = &one;
  internal::core_of(loop).reap_later(one);
  const auto alive = [&] {
    const auto held = [](const std::weak_ptr<KeptObject>& object) { return !object.expired(); };
    return std::ranges::count_if(one.kept, held) + std::ranges::count_if(two.kept, held);
  };
  for (int i = 0; i < 100; ++i) {
    run_turn(loop);
    EXPECT_LE(alive(), 3);
  }
  EXPECT_TRUE(run_until(loop, [&] { return one.kept.size() + two.kept.size() >= 199; }));
  run_turns(loop, 4);
  EXPECT_EQ(alive(), 0);
}

TEST(EventLoop, IsDestroyedWithManyToReap) {
  std::vector<Throwing> clients(1000);
  {
    EventLoop loop;
    for (Throwing& client : clients) internal::core_of(loop).reap_later(client);
  }
  for (const Throwing& client : clients) EXPECT_EQ(client.reaps, 1);
}

TEST(EventLoop, KeepsWhatItIsGivenUntilTheReapPhase) {
  EventLoop loop;
  auto object = std::make_shared<KeptObject>();
  loop.post([&] {
    internal::core_of(loop).keep_until_reaped(object);
    EXPECT_EQ(object.use_count(), 2);
  });
  run_turn(loop);
  EXPECT_EQ(object.use_count(), 1);
}

TEST(EventLoop, F59_StopIsStickyBeforeRunAndTwice) {
  EventLoop loop;
  loop.stop();
  loop.stop();
  loop.run();
  EXPECT_EQ(loop.stats().turns, 0u) << "it returns at once";
  run_turn(loop);
  EXPECT_EQ(loop.stats().turns, 1u) << "and is as good as new";
}

TEST(EventLoop, F59_StopFromEveryPlaceEndsTheTurn) {
  EventLoop loop;
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) {
    static_cast<void>(take(watched.pair.ours));
    loop.stop();
  };
  put(watched.pair.theirs);
  loop.run();
  loop.post([&] { loop.stop(); });
  loop.run();
  loop.run_after(1ms, [&] { loop.stop(); });
  loop.run();
  std::thread other([&] { loop.stop(); });
  loop.run();
  other.join();
}

TEST(EventLoop, StopLetsTheTurnFinish) {
  EventLoop loop;
  int ran = 0;
  for (int i = 0; i < 10; ++i) {
    loop.post([&] {
      ++ran;
      loop.stop();
    });
  }
  loop.run();
  EXPECT_EQ(ran, 10);
}

// Another thread's stop() may be the last thing that happens to a loop: it must not touch the loop
// after run() has seen it.
TEST(EventLoop, F59_StopMayRaceWithTheLoopsEnd) {
  for (int i = 0; i < 200; ++i) {
    std::atomic<EventLoop*> shared{nullptr};
    std::thread owner([&] {
      EventLoop loop;
      shared.store(&loop);
      loop.run();
    });
    while (shared.load() == nullptr) std::this_thread::yield();
    if (i % 2 == 0) {
      shared.load()->stop();
    } else {
      shared.load()->post([&] { shared.load()->stop(); });
    }
    owner.join();
  }
}

TEST(EventLoop, TasksRunInOrderAndOnTheLoopsThread) {
  EventLoop loop;
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) loop.post([&, i] { order.push_back(i); });
  loop.dispatch([&] { order.push_back(100); });
  EXPECT_EQ(order, (std::vector{100})) << "dispatch() on the loop's thread is now";
  bool on_loop = false;
  on_other_thread([&] {
    loop.post([&] { order.push_back(3); });
    loop.dispatch([&] { on_loop = loop.in_loop_thread(); });
  });
  EXPECT_FALSE(on_loop);
  run_turn(loop);
  EXPECT_EQ(order, (std::vector{100, 0, 1, 2, 3}));
  EXPECT_TRUE(on_loop);
}

TEST(EventLoop, F59_TasksThatAreLeftAreDestroyedOnceOnTheLoopsThread) {
  struct Witness {
    std::thread::id* where;
    int* count;
    Witness(std::thread::id* w, int* c) : where(w), count(c) {}
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;
    ~Witness() {
      *where = std::this_thread::get_id();
      ++*count;
    }
  };
  std::thread::id where;
  int count = 0;
  int ran = 0;
  std::shared_ptr<internal::Mailbox> mailbox;
  {
    EventLoop loop;
    mailbox = internal::core_of(loop).mailbox();
    on_other_thread([&] {
      auto witness = std::make_unique<Witness>(&where, &count);
      loop.post([w = std::move(witness), &ran] { ++ran; });
    });
    loop.run_after(1h, [w = std::make_unique<Witness>(&where, &count), &ran] { ++ran; });
  }
  EXPECT_EQ(count, 2);
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(where, std::this_thread::get_id());
  EXPECT_FALSE(mailbox->post([&ran] { ++ran; })) << "the loop is gone";
  EXPECT_FALSE(on_other_thread([&] { return mailbox->post([&ran] { ++ran; }); }));
  EXPECT_EQ(ran, 0);
}

// Destructors of tasks and timers that are destroyed with the loop may still use it.
TEST(EventLoop, F59_DestructorsOfWhatIsLeftMayCallTheLoop) {
  struct Caller {
    EventLoop* loop;
    TimerId other;
    bool* post_refused;
    Caller(EventLoop* l, TimerId o, bool* r) : loop(l), other(o), post_refused(r) {}
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller() {
      loop->cancel(other);
      loop->run_after(1h, [] {});
      *post_refused = !loop->post([] {});
    }
  };
  bool timer_refused = false;
  bool task_refused = false;
  {
    EventLoop loop;
    std::vector<TimerId> others;
    for (int i = 0; i < 10; ++i) others.push_back(loop.run_after(1h, [] {}));
    loop.cancel(others[1]);  // leaves a free slot behind
    loop.run_after(1h, [c = std::make_unique<Caller>(&loop, others[3], &timer_refused)] {});
    loop.post([c = std::make_unique<Caller>(&loop, others[5], &task_refused)] {});
  }
  EXPECT_TRUE(timer_refused);
  EXPECT_TRUE(task_refused);
}

TEST(EventLoop, F58_ATurnRunsABoundedNumberOfTasks) {
  EventLoop loop;
  std::size_t ran = 0;
  bool ready = false;
  std::size_t ran_at_ready = 0;
  Watched watched(loop);
  watched.handler.ready = [&](std::uint32_t) {
    if (!ready) ran_at_ready = ran;
    ready = true;
    static_cast<void>(take(watched.pair.ours));
  };
  loop.post([&] { put(watched.pair.theirs); });
  for (std::size_t i = 0; i < 3 * internal::LoopCore::kMaxTasksPerTurn; ++i) {
    loop.post([&] { ++ran; });
  }
  EXPECT_TRUE(run_until(loop, [&] { return ran == 3 * internal::LoopCore::kMaxTasksPerTurn; }));
  EXPECT_TRUE(ready);
  EXPECT_LE(ran_at_ready, 2 * internal::LoopCore::kMaxTasksPerTurn) << "I/O is served between";
}

TEST(EventLoop, F62_AnExceptionLeavesRunAndNothingIsLost) {
  EventLoop loop;
  std::vector<std::string> log;
  FlushAndReap client(log);
  // Edge-triggered: an event that is lost does not come again.
  Watched first(loop, Trigger::edge);
  Watched second(loop, Trigger::edge);
  const auto on_ready = [&](Watched& watched) {
    static_cast<void>(take(watched.pair.ours));
    log.push_back("ready");
    if (log.size() == 1) throw std::runtime_error("handler");
  };
  first.handler.ready = [&](std::uint32_t) { on_ready(first); };
  second.handler.ready = [&](std::uint32_t) { on_ready(second); };
  put(first.pair.theirs);
  put(second.pair.theirs);
  loop.run_at(TimePoint::min(), [] { throw std::runtime_error("timer"); });
  loop.run_at(TimePoint::min(), [&] { log.push_back("timer"); });
  loop.post([] { throw std::runtime_error("task"); });
  loop.post([&] {
    log.push_back("task");
    loop.stop();
  });
  internal::core_of(loop).flush_later(client);
  internal::core_of(loop).reap_later(client);

  const auto thrown = [&]() -> std::string {
    try {
      loop.run();
      return "nothing";
    } catch (const std::runtime_error& e) {
      return e.what();
    }
  };
  EXPECT_EQ(thrown(), "handler");
  EXPECT_EQ(thrown(), "timer");
  EXPECT_EQ(thrown(), "task");
  EXPECT_EQ(thrown(), "nothing");
  EXPECT_EQ(loop.stats().timers, 2u) << "the one that threw, too";
  EXPECT_EQ(loop.stats().tasks, 2u);
  EXPECT_EQ(log, (std::vector<std::string>{"ready", "ready", "timer", "task", "flush", "reap"}));
}

TEST(EventLoop, F54_RelativeTimersCountFromTheCall) {
  EventLoop loop;
  TimePoint set_at;
  Duration waited{};
  loop.post([&] {
    const TimePoint end = Clock::now() + 50ms;
    while (Clock::now() < end) {
    }
    set_at = Clock::now();
    EXPECT_GE(set_at - loop.now(), 50ms) << "the turn's time stands still";
    loop.run_after(10ms, [&] {
      waited = Clock::now() - set_at;
      loop.stop();
    });
  });
  loop.run();
  EXPECT_GE(waited, 10ms);
}

TEST(EventLoop, TimersFireAtTheirTimeAndRepeatUntilCancelled) {
  EventLoop loop;
  const TimePoint start = Clock::now();
  TimePoint once;
  int repeats = 0;
  TimerId repeating;
  loop.run_at(start + 20ms, [&] { once = Clock::now(); });
  repeating = loop.run_every(5ms, [&] {
    if (++repeats == 4) {
      EXPECT_TRUE(loop.cancel(repeating));
    }
  });
  EXPECT_TRUE(run_until(loop, [&] { return repeats == 4 && once != TimePoint{}; }));
  EXPECT_GE(once - start, 20ms);
  run_for(loop, 15ms);
  EXPECT_EQ(repeats, 4);
  EXPECT_FALSE(loop.cancel(repeating));
}

TEST(EventLoop, BacklogIsWhatWasPostedAndHasNotBegun) {
  EventLoop loop;
  EXPECT_EQ(loop.backlog(), 0u);
  std::vector<std::uint64_t> seen;
  for (int i = 0; i < 3; ++i) {
    std::thread([&] { loop.post([&] { seen.push_back(loop.backlog()); }); }).join();
  }
  EXPECT_EQ(loop.backlog(), 3u);
  run_turn(loop);
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{3, 2, 1}));  // run_turn() posts one, too
}

TEST(EventLoop, StatsTellWhatHappened) {
  EventLoop loop;
  Watched watched(loop);
  put(watched.pair.theirs);
  watched.handler.ready = [&](std::uint32_t) { static_cast<void>(take(watched.pair.ours)); };
  loop.run_after(0ns, [] {});
  run_turn(loop);
  const EventLoop::Stats stats = loop.stats();
  EXPECT_EQ(stats.turns, 1u);
  EXPECT_EQ(stats.events, 1u);
  EXPECT_EQ(stats.tasks, 1u);
  EXPECT_EQ(stats.timers, 1u);
  EXPECT_EQ(stats.wakeups, 0u);
  EXPECT_EQ(stats.spurious_events, 0u);
  EXPECT_EQ(stats.unknown_events, 0u);
  EXPECT_EQ(stats.interest_commits, 2u) << "the eventfd and the channel";
}

TEST(EventLoop, BusyTimeIsTheTimeNotAsleep) {
  EventLoop loop;
  run_for(loop, 100ms);
  EXPECT_LT(loop.stats().busy, 50ms);
  loop.post([] {
    const TimePoint end = Clock::now() + 30ms;
    while (Clock::now() < end) {
    }
  });
  run_for(loop, 50ms);
  EXPECT_GE(loop.stats().busy, 30ms);
}

TEST(EventLoop, SleepsWithoutLimitWhenThereIsNothingToDo) {
  if (under_valgrind()) GTEST_SKIP() << "each wait is two calls: Valgrind has no epoll_pwait2";
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  std::thread other([&] {
    EXPECT_TRUE(wait_until([&] { return faults.waits() == 1; }));
    loop.stop();
  });
  loop.run();
  other.join();
  EXPECT_LT(faults.last_timeout(), Duration::zero());
  EXPECT_EQ(faults.waits(), 1u);
  EXPECT_EQ(loop.stats().wakeups, 1u);
}

TEST(EventLoop, ATurnWithWarmMemoryAllocatesNothing) {
  if (!AllocationCount::available()) GTEST_SKIP() << "a sanitizer has its own operator new";
  EventLoop loop;
  Watched watched(loop);
  int rounds = 0;
  std::uint64_t allocated = 0;
  AllocationCount count;
  watched.handler.ready = [&](std::uint32_t) {
    std::array<char, 16> block;
    EXPECT_EQ(::recv(watched.pair.ours.get(), block.data(), block.size(), 0), 1);
    if (++rounds == 100) count = AllocationCount();
    if (rounds == 1100) {
      allocated = count.on_all_threads();
      loop.stop();
      return;
    }
    watched.channel.set_writing(rounds % 2 == 0);
    loop.run_after(0ns, [&] { put(watched.pair.theirs); });
    loop.post([] {});
  };
  watched.handler.ready = [&, inner = watched.handler.ready](std::uint32_t events) {
    if (events & EPOLLIN) inner(events);
  };
  put(watched.pair.theirs);
  loop.run();
  EXPECT_EQ(allocated, 0u) << "in 1000 turns with I/O, a timer and a task each";
}

TEST(LoopDeathTest, RunInsideRun) {
  EXPECT_DEATH(
      {
        EventLoop loop;
        loop.post([&] { loop.run(); });
        loop.run();
      },
      "EventLoop::run called from inside EventLoop::run");
}

TEST(LoopDeathTest, DestroyedInsideRun) {
  EXPECT_DEATH(
      {
        auto* loop = new EventLoop;
        loop->post([loop] { delete loop; });
        loop->run();
      },
      "EventLoop destroyed inside its own run");
}

TEST(LoopDeathTest, ARepeatingTimerNeedsAPeriod) {
  EXPECT_DEATH(
      {
        EventLoop loop;
        loop.run_every(0ns, [] {});
      },
      "run_every with a period of 0 ns");
}

}  // namespace
}  // namespace weir::test
