// SlotMap: the table with which a loop finds the channel of an event.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench.h"
#include "weir/base/slot_map.h"

namespace weir::bench {
namespace {

struct Filled {
  SlotMap<void*> map;
  std::vector<SlotId> ids;  // in random order

  explicit Filled(std::int64_t live) {
    for (std::int64_t i = 0; i < live; ++i) ids.push_back(map.insert(this));
    auto random = random_numbers();
    std::shuffle(ids.begin(), ids.end(), random);
  }
};

// In random order, so that large maps have cache misses.
void find_all(benchmark::State& state, Filled& filled, bool there) {
  Report report(state);
  std::int64_t as_expected = 0;
  for (auto _ : state) {
    for (const SlotId id : filled.ids) {
      void** value = filled.map.find(id);
      benchmark::DoNotOptimize(value);
      if ((value != nullptr) == there) ++as_expected;
    }
  }
  report.done(as_expected);
}

void slot_map_find(benchmark::State& state) {
  Filled filled(state.range(0));
  find_all(state, filled, true);
}
BENCHMARK(slot_map_find)->ArgName("live")->Arg(1000)->Arg(100000)->Arg(1000000);

// The ids of stale events: the slot has a newer value.
void slot_map_find_stale(benchmark::State& state) {
  Filled filled(state.range(0));
  for (const SlotId id : filled.ids) filled.map.erase(id);
  for (std::size_t i = 0; i < filled.ids.size(); ++i) filled.map.insert(&filled);
  find_all(state, filled, false);
}
BENCHMARK(slot_map_find_stale)->ArgName("live")->Arg(1000)->Arg(100000);

enum class Measured : std::uint8_t { insert, erase };

// A batch of the `live` values is erased in random order, and as many are inserted.
void slot_map_change(benchmark::State& state, Measured measured) {
  Filled filled(state.range(0));
  const std::size_t batch = std::min<std::size_t>(filled.ids.size() / 4, 8192);
  std::size_t at = 0;
  std::int64_t changed = 0;
  Report report(state);
  const auto erase = [&] {
    for (std::size_t i = at; i < at + batch; ++i) changed += filled.map.erase(filled.ids[i]);
  };
  const auto insert = [&] {
    for (std::size_t i = at; i < at + batch; ++i) filled.ids[i] = filled.map.insert(&filled);
  };
  for (auto _ : state) {
    if (measured == Measured::insert) {
      erase();
      timed(state, insert);
    } else {
      timed(state, erase);
      insert();
    }
    at = at + 2 * batch <= filled.ids.size() ? at + batch : 0;
  }
  report.done(changed);
}
BENCHMARK_CAPTURE(slot_map_change, insert, Measured::insert)
    ->ArgName("live")
    ->Arg(1000)
    ->Arg(100000)
    ->UseManualTime();
BENCHMARK_CAPTURE(slot_map_change, erase, Measured::erase)
    ->ArgName("live")
    ->Arg(1000)
    ->Arg(100000)
    ->UseManualTime();

}  // namespace
}  // namespace weir::bench
