// EventLoop::Stats: the values and the list of metrics.
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/base/metrics.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"

namespace weir {

EventLoop::Stats internal::LoopCore::stats() const {
  EventLoop::Stats stats{.turns = counters_.turns.value(),
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
  for (std::size_t i = 0; i < stats.turn_times.size(); ++i) {
    stats.turn_times[i] = counters_.turn_times[i].value();
  }
  return stats;
}

namespace {

using internal::metric;
using Stats = EventLoop::Stats;
using enum MetricKind;

// The label of a range of turn_times: its upper bound in seconds.
std::string turn_bound(std::size_t range) {
  if (range + 1 == EventLoop::kTurnBuckets) return metric_label("le", "+Inf");
  const Duration bound(std::int64_t{1} << (range + EventLoop::kTurnUnitBits));
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(),
                                 std::chrono::duration<double>(bound).count())
                       .ptr;
  return metric_label("le", std::string_view(text.data(), end));
}

constexpr std::array kMetrics{
    metric<&Stats::turns>(counter, "turns", "", "Turns of the loop."),
    metric<&Stats::events>(counter, "events", "", "Ready descriptors dispatched."),
    metric<&Stats::wakeups>(counter, "wakeups", "",
                            "Turns in which another thread's post ended the wait."),
    metric<&Stats::interest_commits>(counter, "interest_commits", "", "Calls of epoll_ctl(2)."),
    metric<&Stats::tasks>(counter, "tasks", "", "Posted tasks that ran."),
    metric<&Stats::timers>(counter, "timers", "", "Timers that ran."),
    metric<&Stats::spurious_events>(counter, "spurious_events", "",
                                    "Events of channels removed earlier in the same turn."),
    metric<&Stats::unknown_events>(counter, "unknown_events", "",
                                   "Events of descriptors that were closed but still in epoll."),
    metric<&Stats::busy>(counter, "busy", "seconds", "Time not spent waiting."),
    metric<&Stats::stalls>(counter, "stalls", "",
                           "Callbacks that held the loop for longer than stall_threshold."),
    metric<&Stats::preempted>(counter, "preempted", "",
                              "Callbacks that took long because the thread got no processor."),
    metric<&Stats::turn_times, turn_bound>(histogram, "turn_times", "seconds",
                                           "Turns, by the time from the wake-up to the end."),
};
static_assert(internal::covers_all<Stats>(kMetrics));

}  // namespace

MetricList<EventLoop::Stats> EventLoop::Stats::metrics() { return kMetrics; }

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
