// What the micro benchmarks share: what a run reports, a stopwatch for those whose set-up
// alternates with what is measured, and a count of heap allocations.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string_view>
#include <utility>

#include "common/stopwatch.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::bench {

// Allocations by operator new of the calling thread, ever (support.cc).
std::uint64_t allocations();

// A run reports through one of these: make it before the loop over the state, call done() behind.
class Report {
 public:
  explicit Report(benchmark::State& state) : state_(state), allocations_(allocations()) {}

  // per_item: time of one item; allocs: of one item, on this thread. An item that did not happen
  // must not be counted, so none at all is an error.
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
  // And the bytes a second.
  void done(std::int64_t items, std::int64_t bytes) {
    done(items);
    state_.SetBytesProcessed(bytes);
  }
  // Where set-up runs inside the loop, its allocations must not count.
  void done_without_allocations(std::int64_t items) {
    done(items);
    state_.counters.erase("allocs");
  }

 private:
  benchmark::State& state_;
  const std::uint64_t allocations_;
};

// For UseManualTime(): runs `work`, the measured part of one iteration: a batch of a hundred items
// or more.
template <typename Work>
void timed(benchmark::State& state, Work&& work) {
  state.SetIterationTime(stopwatch::seconds_of(std::forward<Work>(work)));
}

// A machine that does other things as well makes callbacks look long; here nobody wants to know.
inline EventLoop::Options loop_options() { return {.stall_threshold = Duration(0)}; }

// The same numbers in every run.
using Random = std::mt19937_64;
inline Random random_numbers() { return Random(20); }

inline std::string_view small_text() { return "a line of text, as chats have it"; }  // 32 bytes

}  // namespace weir::bench
