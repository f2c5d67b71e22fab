#include "weir/net/reactor/internal/timer_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "support/allocations.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{std::chrono::hours(1000)};

TEST(TimerQueue, RunsInOrderOfDeadlineThenOfSetting) {
  internal::TimerQueue queue;
  std::vector<int> ran;
  const auto add = [&](Duration at, int name) {
    queue.schedule(kStart + at, 0ns, [&ran, name] { ran.push_back(name); });
  };
  add(3ms, 3);
  add(1ms, 10);
  add(2ms, 2);
  add(1ms, 11);
  add(1ms, 12);
  EXPECT_EQ(queue.next(), kStart + 1ms);
  EXPECT_EQ(queue.expire(kStart + 999us), 0u);
  EXPECT_EQ(queue.expire(kStart + 2ms), 4u);
  EXPECT_EQ(ran, (std::vector{10, 11, 12, 2}));
  EXPECT_EQ(queue.next(), kStart + 3ms);
  EXPECT_EQ(queue.expire(kStart + 1h), 1u);
  EXPECT_EQ(queue.next(), std::nullopt);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(TimerQueue, F51_CancelTellsTheTruthInEveryState) {
  internal::TimerQueue queue;
  EXPECT_FALSE(queue.cancel(TimerId{}));
  EXPECT_FALSE(queue.cancel(TimerId{7, 7}));
  int ran = 0;
  const TimerId id = queue.schedule(kStart, 0ns, [&] { ++ran; });
  EXPECT_TRUE(queue.cancel(id));
  EXPECT_FALSE(queue.cancel(id)) << "cancelled already";
  const TimerId reuse = queue.schedule(kStart, 0ns, [&] { ++ran; });
  EXPECT_EQ(reuse.slot, id.slot) << "the test means to reuse the slot";
  EXPECT_FALSE(queue.cancel(id)) << "the slot has a new tenant";
  EXPECT_EQ(queue.expire(kStart), 1u);
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(queue.cancel(reuse)) << "it has run";
}

TEST(TimerQueue, F51_CallbacksCancelThemselvesAndOthersOfTheSameBatch) {
  internal::TimerQueue queue;
  TimerId self;
  TimerId victim;
  TimerId repeating;
  int victim_ran = 0;
  int repeats = 0;
  bool cancelled_self = true;
  self = queue.schedule(kStart, 0ns, [&] {
    cancelled_self = queue.cancel(self);
    EXPECT_TRUE(queue.cancel(victim));
  });
  victim = queue.schedule(kStart, 0ns, [&] { ++victim_ran; });
  repeating = queue.schedule(kStart, 1ms, [&] {
    if (++repeats == 3) {
      EXPECT_TRUE(queue.cancel(repeating));
    }
  });
  for (int i = 0; i < 10; ++i) queue.expire(kStart + i * 1ms);
  EXPECT_FALSE(cancelled_self) << "a timer that runs for the last time is not set any more";
  EXPECT_EQ(victim_ran, 0);
  EXPECT_EQ(repeats, 3);
  EXPECT_EQ(queue.size(), 0u);
}

// The task's destructor may use the queue.
TEST(TimerQueue, F51_DestroyingACancelledTaskMayCallBack) {
  internal::TimerQueue queue;
  struct Rearm {
    internal::TimerQueue* queue;
    int* ran;
    Rearm(internal::TimerQueue* q, int* r) : queue(q), ran(r) {}
    Rearm(Rearm&& other) noexcept : queue(std::exchange(other.queue, nullptr)), ran(other.ran) {}
    Rearm& operator=(Rearm&&) = delete;
    ~Rearm() {
      if (queue) queue->schedule(kStart, 0ns, [r = ran] { ++*r; });
    }
    void operator()() const {}
  };
  int ran = 0;
  const TimerId id = queue.schedule(kStart, 0ns, Rearm(&queue, &ran));
  EXPECT_TRUE(queue.cancel(id));
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(queue.expire(kStart), 1u);
  EXPECT_EQ(ran, 1);
}

TEST(TimerQueue, F52_WhatIsSetWhileOthersRunWaitsForTheNextTurn) {
  internal::TimerQueue queue;
  int ran = 0;
  std::function<void()> again = [&] {
    ++ran;
    queue.schedule(kStart, 0ns, again);
  };
  queue.schedule(kStart, 0ns, again);
  EXPECT_EQ(queue.expire(kStart), 1u);
  EXPECT_EQ(queue.expire(kStart), 1u);
  EXPECT_EQ(ran, 2);
}

TEST(TimerQueue, F53_ARepeatingTimerSkipsWhatItMissedAndKeepsItsPhase) {
  internal::TimerQueue queue;
  int ran = 0;
  queue.schedule(kStart + 10ms, 10ms, [&] { ++ran; });
  queue.expire(kStart + 10s + 3ms);  // a stall of 10 s
  EXPECT_EQ(ran, 1) << "no burst";
  EXPECT_EQ(queue.next(), kStart + 10s + 10ms) << "on the planned grid";
  queue.expire(kStart + 10s + 9ms);
  EXPECT_EQ(ran, 1);
  queue.expire(kStart + 10s + 10ms);
  EXPECT_EQ(ran, 2);
}

TEST(TimerQueue, ThrowingTimerLosesNothing) {
  internal::TimerQueue queue;
  int ran = 0;
  int repeats = 0;
  queue.schedule(kStart, 0ns, [] { throw std::runtime_error("first"); });
  queue.schedule(kStart, 0ns, [&] { ++ran; });
  queue.schedule(kStart, 1ms, [&] {
    if (++repeats == 1) throw std::runtime_error("repeating");
  });
  queue.schedule(kStart, 0ns, [&] { ++ran; });
  EXPECT_THROW(queue.expire(kStart), std::runtime_error);
  EXPECT_EQ(queue.next(), TimePoint::min()) << "the rest is due at once";
  EXPECT_THROW(queue.expire(kStart), std::runtime_error);
  EXPECT_EQ(queue.expire(kStart), 1u);
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(queue.expire(kStart + 1ms), 1u);
  EXPECT_EQ(repeats, 2) << "a repeating timer stays set after it threw";
}

TEST(TimerQueue, FarDeadlinesDoNotOverflow) {
  internal::TimerQueue queue;
  const TimerId once = queue.schedule(TimePoint::max(), 0ns, [] { FAIL(); });
  const TimerId repeating = queue.schedule(TimePoint::max(), Duration::max(), [] { FAIL(); });
  EXPECT_EQ(queue.expire(kStart + std::chrono::hours(24 * 365 * 100)), 0u);
  EXPECT_TRUE(queue.cancel(once));
  EXPECT_TRUE(queue.cancel(repeating));
}

TEST(TimerQueue, F14_ATurnRunsABoundedNumber) {
  internal::TimerQueue queue;
  std::size_t ran = 0;
  const std::size_t total = 2 * internal::TimerQueue::kMaxExpiredPerTurn + 1;
  for (std::size_t i = 0; i < total; ++i) queue.schedule(kStart, 0ns, [&] { ++ran; });
  EXPECT_EQ(queue.expire(kStart), internal::TimerQueue::kMaxExpiredPerTurn);
  EXPECT_EQ(queue.expire(kStart), internal::TimerQueue::kMaxExpiredPerTurn);
  EXPECT_EQ(queue.expire(kStart), 1u);
  EXPECT_EQ(ran, total);
}

TEST(TimerQueue, F55_AMillionTimersHalfCancelledGiveTheirMemoryBack) {
  const HeapCheck heap;
  internal::TimerQueue queue;
  std::vector<TimerId> ids;
  ids.reserve(1'000'000);
  std::mt19937_64 random(55);
  std::size_t ran = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const Duration ahead(static_cast<std::int64_t>(random() % 1'000'000'000));
    ids.push_back(queue.schedule(kStart + ahead, 0ns, [&ran] { ++ran; }));
  }
  const std::size_t full = queue.memory();
  for (std::size_t i = 0; i < ids.size(); i += 2) EXPECT_TRUE(queue.cancel(ids[i]));
  EXPECT_EQ(queue.size(), 500'000u);
  EXPECT_LE(queue.memory(), full);
  while (queue.expire(kStart + 1s) > 0) {
  }
  EXPECT_EQ(ran, 500'000u);
  EXPECT_LT(queue.memory(), 1'000'000u) << "of " << full;
}

// Cancelling all but a few leaves no heap of corpses behind.
TEST(TimerQueue, F55_CancelledTimersDoNotPileUp) {
  internal::TimerQueue queue;
  queue.schedule(kStart + 1h, 0ns, [] {});
  for (int i = 0; i < 1'000'000; ++i) {
    queue.cancel(queue.schedule(kStart + 30min + i * 1ns, 0ns, [] {}));
  }
  EXPECT_LT(queue.memory(), 64u * 1024);
  EXPECT_EQ(queue.next(), kStart + 1h);
}

// The queue beside a reference that anyone can see is right: an ordered map from (deadline,
// order of setting) to the timer's name.
class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed) {}

  void step() {
    const auto choice = random_() % 100;
    if (choice < 45) {
      add();
    } else if (choice < 75) {
      cancel_one();
    } else {
      advance();
    }
  }
  void check_queue() const { EXPECT_GE(queue_.memory(), queue_.size() * sizeof(TimePoint)); }
  void check_end() {
    now_ += 24h;
    expire();
    // Repeating timers are set for ever; the rest is gone.
    for (const auto& [key, timer] : reference_) ASSERT_NE(timer.period, Duration::zero());
    EXPECT_EQ(queue_.size(), reference_.size());
  }

 private:
  using Key = std::pair<TimePoint, std::uint64_t>;
  struct Timer {
    std::uint64_t name;
    Duration period;
  };
  struct Handle {
    TimerId id;
    std::uint64_t name;
  };

  void add() {
    const std::uint64_t name = ++names_;
    const Duration ahead(static_cast<std::int64_t>(random_() % 64) * 100 - 200);
    const bool repeats = random_() % 16 == 0 && repeating_ < 20;
    if (repeats) ++repeating_;
    const Duration period(repeats ? static_cast<std::int64_t>(random_() % 500 + 50) : 0);
    const TimerId id =
        queue_.schedule(now_ + ahead, period, [this, name] { ran_.push_back(name); });
    const Key key{now_ + ahead, name};
    reference_[key] = {name, period};
    where_[name] = key;
    handles_.push_back({id, name});
  }

  // Of a timer that is set, has run, or was cancelled before.
  void cancel_one() {
    if (handles_.empty()) return;
    const std::size_t pick = random_() % handles_.size();
    const Handle handle = handles_[pick];
    const auto found = where_.find(handle.name);
    const bool is_set = found != where_.end();
    ASSERT_EQ(queue_.cancel(handle.id), is_set);
    if (is_set) {
      if (reference_[found->second].period != Duration::zero()) --repeating_;
      reference_.erase(found->second);
      where_.erase(found);
    }
    if (random_() % 2 == 0) {
      handles_[pick] = handles_.back();
      handles_.pop_back();
    }
  }

  void advance() {
    now_ += Duration(static_cast<std::int64_t>(random_() % 1500));
    expire();
  }

  void expire() {
    const auto next = queue_.next();
    ASSERT_EQ(next.has_value(), !reference_.empty());
    if (next) {
      ASSERT_EQ(*next, reference_.begin()->first.first);
    }

    std::vector<std::uint64_t> expected;
    std::vector<std::pair<Key, Timer>> again;
    while (!reference_.empty() && reference_.begin()->first.first <= now_) {
      const auto [key, timer] = *reference_.begin();
      reference_.erase(reference_.begin());
      expected.push_back(timer.name);
      if (timer.period == Duration::zero()) {
        where_.erase(timer.name);
      } else {
        const auto missed = (now_ - key.first) / timer.period;
        again.push_back({{key.first + (missed + 1) * timer.period, key.second}, timer});
      }
    }
    for (const auto& [key, timer] : again) {
      reference_[key] = timer;
      where_[timer.name] = key;
    }
    ran_.clear();
    ASSERT_EQ(queue_.expire(now_), expected.size());
    ASSERT_EQ(ran_, expected);
    ASSERT_EQ(queue_.size(), reference_.size());
  }

  std::mt19937_64 random_;
  TimePoint now_ = kStart;
  std::uint64_t names_ = 0;
  int repeating_ = 0;
  internal::TimerQueue queue_;
  std::map<Key, Timer> reference_;
  std::map<std::uint64_t, Key> where_;
  std::vector<Handle> handles_;
  std::vector<std::uint64_t> ran_;
};

TEST(TimerQueue, F51_AMillionRandomOperationsAgreeWithANaiveQueue) {
  constexpr int kRounds = 20;
  constexpr int kSteps = 50'000;
  for (std::uint64_t seed = 1; seed <= kRounds; ++seed) {
    Model model(seed);
    for (int i = 0; i < kSteps; ++i) {
      model.step();
      if (i % 1000 == 0) model.check_queue();
      if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", step " << i;
    }
    model.check_end();
  }
}

}  // namespace
}  // namespace weir::test
