// What a loop has done, as EventLoop::Stats.
#include <cstddef>
#include <cstdint>

#include "weir/net/reactor/event_loop.h"

namespace weir {

EventLoop::Stats EventLoop::stats() const {
  Stats stats{.turns = counters_.turns.value(),
              .events = counters_.events.value(),
              .wakeups = counters_.wakeups.value(),
              .interest_commits = counters_.commits.value(),
              .tasks = counters_.tasks.value(),
              .timers = counters_.timers.value(),
              .spurious_events = counters_.spurious.value(),
              .unknown_events = counters_.unknown.value(),
              .busy = Duration(static_cast<std::int64_t>(counters_.busy_ns.value())),
              .stalls = watch_.stalls(),
              .preempted = watch_.preempted()};
  for (std::size_t i = 0; i < kTurnBuckets; ++i) {
    stats.turn_times[i] = counters_.turn_times[i].value();
  }
  return stats;
}

EventLoop::Stats operator-(EventLoop::Stats later, const EventLoop::Stats& earlier) {
  later.turns -= earlier.turns;
  later.events -= earlier.events;
  later.wakeups -= earlier.wakeups;
  later.interest_commits -= earlier.interest_commits;
  later.tasks -= earlier.tasks;
  later.timers -= earlier.timers;
  later.spurious_events -= earlier.spurious_events;
  later.unknown_events -= earlier.unknown_events;
  later.busy -= earlier.busy;
  later.stalls -= earlier.stalls;
  later.preempted -= earlier.preempted;
  for (std::size_t i = 0; i < later.turn_times.size(); ++i) {
    later.turn_times[i] -= earlier.turn_times[i];
  }
  return later;
}

Duration EventLoop::Stats::turn_time(double percent) const {
  std::uint64_t total = 0;
  for (const std::uint64_t bucket : turn_times) total += bucket;
  if (total == 0) return {};
  const double wanted = static_cast<double>(total) * percent / 100;
  std::uint64_t below = 0;
  std::size_t i = 0;
  for (; i + 1 < turn_times.size(); ++i) {
    below += turn_times[i];
    if (static_cast<double>(below) >= wanted && below > 0) break;
  }
  return Duration(std::int64_t{1} << (i + kTurnUnitBits));
}

}  // namespace weir
