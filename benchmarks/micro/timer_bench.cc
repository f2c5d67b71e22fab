// Timers, with few and with very many live ones: setting, cancelling, running, and the same through
// a loop.
//
// rising: all timers have the same timeout, so the deadlines ascend.
// random: the deadlines are anywhere in the next minute. The order of cancelling is random in both.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bench.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/timer_queue.h"

namespace weir::bench {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

enum class Order : std::uint8_t { rising, random };
enum class Measured : std::uint8_t { schedule, cancel, expire };

// A queue with a constant number of live timers: a benchmark that removes some adds as many.
struct LiveTimers {
  internal::TimerQueue queue;
  std::vector<TimerId> ids;
  Order order;
  TimePoint now{seconds(1)};
  std::int64_t ran = 0;
  Random random = random_numbers();
  std::vector<std::uint32_t> turn;  // the order in which ids are cancelled
  std::size_t next_turn = 0;

  LiveTimers(Order by, std::int64_t live) : order(by) {
    for (std::int64_t i = 0; i < live; ++i) {
      ids.push_back(schedule(deadline()));
      turn.push_back(static_cast<std::uint32_t>(i));
    }
    std::shuffle(turn.begin(), turn.end(), random);
  }

  TimePoint deadline() {
    if (order == Order::rising) return (now += microseconds(1)) + seconds(60);
    const auto ahead = static_cast<std::int64_t>(random() % 60'000'000);
    return now + microseconds(ahead);
  }
  TimerId schedule(TimePoint when) {
    return queue.schedule(when, Duration::zero(), [this] { ++ran; });
  }
};

// Setting a million timers takes long, so runs of one kind share a queue; one queue is kept.
LiveTimers& live_timers(Order order, std::int64_t live, Measured measured) {
  struct Kept {
    Order order;
    std::int64_t live;
    bool expiring;
    std::unique_ptr<LiveTimers> timers;
  };
  static Kept kept{};
  const bool expiring = measured == Measured::expire;
  if (!kept.timers || kept.order != order || kept.live != live || kept.expiring != expiring) {
    kept.timers.reset();
    kept = {order, live, expiring, std::make_unique<LiveTimers>(order, live)};
  }
  return *kept.timers;
}

std::size_t batch_of(std::int64_t live) {
  return static_cast<std::size_t>(
      std::min<std::int64_t>(live / 8, internal::TimerQueue::kMaxExpiredPerTurn));
}

// Cancels a batch of timers and sets as many; one of the two steps is measured.
void timer_change(benchmark::State& state, Order order, Measured measured) {
  LiveTimers& timers = live_timers(order, state.range(0), measured);
  const std::size_t batch = batch_of(state.range(0));
  std::vector<std::uint32_t> places(batch);
  std::vector<TimerId> ids(batch);
  std::vector<TimePoint> deadlines(batch);
  std::int64_t changed = 0;
  Report report(state);
  for (auto _ : state) {
    for (std::size_t i = 0; i < batch; ++i) {
      places[i] = timers.turn[timers.next_turn];
      timers.next_turn = (timers.next_turn + 1) % timers.turn.size();
      ids[i] = timers.ids[places[i]];
      deadlines[i] = timers.deadline();
    }
    const auto cancel = [&] {
      for (const TimerId id : ids) changed += timers.queue.cancel(id);
    };
    const auto schedule = [&] {
      for (std::size_t i = 0; i < batch; ++i) ids[i] = timers.schedule(deadlines[i]);
    };
    if (measured == Measured::schedule) {
      cancel();
      timed(state, schedule);
    } else {
      timed(state, cancel);
      schedule();
    }
    for (std::size_t i = 0; i < batch; ++i) timers.ids[places[i]] = ids[i];
  }
  if (changed != state.iterations() * static_cast<std::int64_t>(batch)) {
    state.SkipWithError("a timer was not live");
    return;
  }
  report.done_without_allocations(changed);
}

// Time advances, a batch of timers is due and runs, and as many are set again.
void timer_expire(benchmark::State& state, Order order) {
  LiveTimers& timers = live_timers(order, state.range(0), Measured::expire);
  const std::size_t batch = batch_of(state.range(0));
  // Rising deadlines are a microsecond apart. Random ones are 30 s ahead on average, so half a
  // batch is due.
  const Duration step = order == Order::rising
                            ? Duration(microseconds(batch))
                            : Duration(seconds(15)) / state.range(0) * static_cast<int>(batch);
  TimePoint now = timers.queue.next().value_or(timers.now);
  const std::int64_t ran_before = timers.ran;
  Report report(state);
  for (auto _ : state) {
    now += step;
    std::size_t ran = 0;
    timed(state, [&] { ran = timers.queue.expire(now); });
    if (order == Order::random) timers.now = now;
    for (std::size_t i = 0; i < ran; ++i) timers.schedule(timers.deadline());
  }
  report.done_without_allocations(timers.ran - ran_before);
}

void live_counts(benchmark::internal::Benchmark* of) {
  of->ArgName("live")->Arg(1000)->Arg(100000)->Arg(1000000)->UseManualTime();
}
BENCHMARK_CAPTURE(timer_change, schedule_rising, Order::rising, Measured::schedule)
    ->Apply(live_counts);
BENCHMARK_CAPTURE(timer_change, schedule_random, Order::random, Measured::schedule)
    ->Apply(live_counts);
BENCHMARK_CAPTURE(timer_change, cancel_rising, Order::rising, Measured::cancel)->Apply(live_counts);
BENCHMARK_CAPTURE(timer_change, cancel_random, Order::random, Measured::cancel)->Apply(live_counts);
BENCHMARK_CAPTURE(timer_expire, rising, Order::rising)->Apply(live_counts);
BENCHMARK_CAPTURE(timer_expire, random, Order::random)->Apply(live_counts);

// Sets this number of timers and cancels all in the order in which they were set. Includes the
// growth and release of memory.
void timer_fill(benchmark::State& state) {
  Report report(state);
  for (auto _ : state) {
    auto queue = std::make_unique<internal::TimerQueue>();
    std::int64_t ran = 0;
    timed(state, [&] {
      TimePoint when(seconds(60));
      for (std::int64_t i = 0; i < state.range(0); ++i) {
        benchmark::DoNotOptimize(
            queue->schedule(when += microseconds(1), Duration::zero(), [&ran] { ++ran; }));
      }
    });
  }
  report.done(state.iterations() * state.range(0));
}
BENCHMARK(timer_fill)->Apply(live_counts);

void timer_empty(benchmark::State& state) {
  Report report(state);
  std::vector<TimerId> ids(static_cast<std::size_t>(state.range(0)));
  std::int64_t cancelled = 0;
  for (auto _ : state) {
    internal::TimerQueue queue;
    TimePoint when(seconds(60));
    for (TimerId& id : ids) id = queue.schedule(when += microseconds(1), Duration::zero(), [] {});
    timed(state, [&] {
      for (const TimerId id : ids) cancelled += queue.cancel(id);
    });
  }
  report.done_without_allocations(cancelled);
}
BENCHMARK(timer_empty)->Apply(live_counts);

// Through a loop: moves a timeout by cancel() and run_after(), which reads the clock, or run_at(),
// which does not. An item is both calls.
void timer_move(benchmark::State& state, bool by_clock) {
  EventLoop loop(loop_options());
  std::int64_t ran = 0;
  const TimePoint start = loop.now();
  std::vector<TimerId> ids;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    ids.push_back(loop.run_at(start + seconds(600) + Duration(i), [&ran] { ++ran; }));
  }
  std::size_t at = 0;
  std::int64_t ahead = state.range(0);
  std::int64_t moved = 0;
  Report report(state);
  for (auto _ : state) {
    moved += loop.cancel(ids[at]);
    ids[at] = by_clock ? loop.run_after(seconds(1200), [&ran] { ++ran; })
                       : loop.run_at(start + seconds(600) + Duration(++ahead), [&ran] { ++ran; });
    at = at + 1 < ids.size() ? at + 1 : 0;
  }
  report.done(moved);
}
BENCHMARK_CAPTURE(timer_move, run_at, false)->ArgName("live")->Arg(1000)->Arg(1000000);
BENCHMARK_CAPTURE(timer_move, run_after, true)->ArgName("live")->Arg(1000)->Arg(1000000);

}  // namespace
}  // namespace weir::bench
