// What the micro benchmarks share: what a run reports, a stopwatch for those whose set-up
// alternates with what is measured, and a count of heap allocations.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string_view>

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

// For UseManualTime(): runs `work`, the measured part of one iteration, and takes the processor
// time that this thread spent on it, less what asking for it costs. What is left of that is some 50
// ns, so a batch should be of a hundred items or more.
double thread_seconds();
double price_of_asking();  // measured once
template <typename Work>
void timed(benchmark::State& state, Work&& work) {
  const double price = price_of_asking();
  const double start = thread_seconds();
  work();
  state.SetIterationTime(std::max(thread_seconds() - start - price, 0.0));
}

// A machine that does other things as well makes callbacks look long; here nobody wants to know.
inline EventLoop::Options loop_options() { return {.stall_threshold = Duration(0)}; }

// The same numbers in every run.
using Random = std::mt19937_64;
inline Random random_numbers() { return Random(20); }

inline std::string_view small_text() { return "a line of text, as chats have it"; }  // 32 bytes

}  // namespace weir::bench
