// Shared by the micro benchmarks: the report of a run, a stopwatch for benchmarks whose set-up
// alternates with the measured part, and a count of heap allocations.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string_view>
#include <utility>

#include "common/stopwatch.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::bench {

// The total number of allocations by operator new of the calling thread (support.cc).
std::uint64_t allocations();

// Reports the results of a run: construct it before the loop over the state, call done() after it.
class Report {
 public:
  explicit Report(benchmark::State& state) : state_(state), allocations_(allocations()) {}

  // per_item: time of one item. allocs: allocations of one item, on this thread. It is an error if
  // there were no items.
  void done(std::int64_t items) {
    const std::uint64_t allocated = allocations() - allocations_;
    if (items <= 0) {
      state_.SkipWithError("nothing was measured");
      return;
    }
    state_.SetItemsProcessed(items);
    using benchmark::Counter;
    const auto count = static_cast<double>(items);
    state_.counters["per_item"] = Counter(count, Counter::kIsRate | Counter::kInvert);
    state_.counters["allocs"] = Counter(static_cast<double>(allocated) / count);
  }
  // Also reports bytes per second.
  void done(std::int64_t items, std::int64_t bytes) {
    done(items);
    state_.SetBytesProcessed(bytes);
  }
  // For a set-up inside the loop, whose allocations must not count.
  void done_without_allocations(std::int64_t items) {
    done(items);
    state_.counters.erase("allocs");
  }

 private:
  benchmark::State& state_;
  const std::uint64_t allocations_;
};

// For UseManualTime(): runs and measures `work`, which should be a batch of a hundred items or
// more.
template <typename Work>
void timed(benchmark::State& state, Work&& work) {
  state.SetIterationTime(stopwatch::seconds_of(std::forward<Work>(work)));
}

// On a busy machine callbacks look long; the warnings are not wanted here.
inline EventLoop::Options loop_options() { return {.stall_threshold = Duration(0)}; }

// Yields the same numbers in every run.
using Random = std::mt19937_64;
inline Random random_numbers() { return Random(20); }

inline std::string_view small_text() { return "a line of text, as chats have it"; }  // 32 bytes

}  // namespace weir::bench
