// The timers of one library: all are set, then cancelled and set again in batches.
#include <algorithm>
#include <numeric>

#include "common/stopwatch.h"
#include "rivals/parts.h"

namespace parts {
namespace {

using stopwatch::seconds_of;

// A typical number for one turn, but at most an eighth of the timers that are set.
constexpr std::size_t kMostInBatch = 4096;
constexpr std::size_t kWarmUpBatches = 8;
// A library may defer work until many timers are cancelled, so many live timers need many changes.
constexpr std::size_t kLeastChanges = 200'000;
constexpr std::size_t kMostChanges = 1'000'000;

TimerTimes change_all(const std::string& name, Timers& timers, std::span<const Place> turn) {
  const std::size_t batch = std::min(turn.size() / 8, kMostInBatch);
  const std::size_t batches = turn.size() / batch;
  const std::size_t changes = std::clamp(turn.size(), kLeastChanges, kMostChanges);
  const std::size_t rounds = kWarmUpBatches + changes / batch;
  TimerTimes times;
  std::uint64_t cancelled = 0;
  for (std::size_t round = 0; round < rounds; ++round) {
    const std::span<const Place> places = turn.subspan(round % batches * batch, batch);
    const double cancel_ns = 1e9 * seconds_of([&] { cancelled += timers.cancel(places); });
    const double set_ns = 1e9 * seconds_of([&] { timers.set(places); });
    if (round < kWarmUpBatches) continue;
    times.cancel_ns += cancel_ns;
    times.set_ns += set_ns;
  }
  if (cancelled != rounds * batch) give_up(name + ": a timer was not live when it was cancelled");
  const auto measured = static_cast<double>((rounds - kWarmUpBatches) * batch);
  return {.set_ns = times.set_ns / measured, .cancel_ns = times.cancel_ns / measured};
}

}  // namespace

TimerTimes measure_timers(const TimerWay& way, std::span<const Place> turn) {
  std::vector<Place> all(turn.size());
  std::iota(all.begin(), all.end(), Place{0});
  const std::unique_ptr<Timers> timers = way.make(turn.size());
  TimerTimes times;
  timers->within([&] {
    timers->set(all);
    times = change_all(way.name, *timers, turn);
    if (timers->cancel(all) != all.size()) give_up(way.name + ": a timer was lost");
  });
  if (timers->ran() != 0) give_up(way.name + ": a timer ran ten minutes early");
  // The count is valid only if the library does not report every timer as live.
  if (timers->cancel(all) != 0) give_up(way.name + ": a cancelled timer was live");
  return times;
}

}  // namespace parts
