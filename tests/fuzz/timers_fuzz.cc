// A script of operations on a TimerQueue beside a naive one: a list that is searched for the timer
// that is due first. Timers set and cancel timers, themselves too, and throw.
#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fuzz/target.h"
#include "weir/base/check_format.h"
#include "weir/net/reactor/internal/timer_queue.h"

namespace weir::fuzz {
namespace {

using internal::TimerQueue;

class TimerScript {
 public:
  explicit TimerScript(Bytes input) : script_(input) {}

  void run() {
    while (!script_.ended()) {
      step();
      check();
    }
    // Now all run: first the rest of a batch in which a timer has thrown.
    now_ += std::chrono::hours(1);
    expire();
    expire();
    for (const Timer& timer : timers_) {
      WEIR_CHECK(timer.state != State::set || timer.period > Duration::zero(), "it did not run");
    }
  }

 private:
  enum class State : std::uint8_t { set, gone };
  struct Timer {
    TimerId id;
    TimePoint deadline;
    Duration period;
    State state = State::set;
  };

  void step() {
    const std::uint8_t choice = script_.byte() % 8;
    if (choice < 3) return schedule();
    if (choice < 5) return cancel();
    if (choice == 5) now_ += Duration(static_cast<std::int64_t>(script_.up_to(1000)));
    expire();
  }

  void schedule() {
    // A few deadlines, so that many are equal; some have passed.
    const Duration ahead(static_cast<std::int64_t>(script_.byte() % 64) * 10 - 100);
    const bool periodic = script_.byte() % 4 == 0;
    const Duration period(periodic ? 1 + script_.byte() : 0);
    const std::size_t name = timers_.size();
    timers_.push_back({.id = {}, .deadline = now_ + ahead, .period = period});
    const TimerId id = queue_.schedule(now_ + ahead, period, [this, name] { ran(name); });
    timers_[name].id = id;
  }

  void cancel() {
    if (timers_.empty()) return;
    Timer& timer = timers_[script_.up_to(timers_.size() - 1)];
    const bool was_set = std::exchange(timer.state, State::gone) == State::set;
    WEIR_CHECK(queue_.cancel(timer.id) == was_set, "cancel() of a timer that was set: {}", was_set);
  }

  // The timers that are due now, in the order in which they have to run.
  void collect() {
    batch_.clear();
    next_ = 0;
    for (std::size_t name = 0; name < timers_.size(); ++name) {
      const Timer& timer = timers_[name];
      if (timer.state == State::set && timer.deadline <= now_) batch_.push_back(name);
    }
    std::ranges::sort(batch_, {},
                      [&](std::size_t name) { return std::pair(timers_[name].deadline, name); });
  }
  void skip_cancelled() {
    while (next_ < batch_.size() && timers_[batch_[next_]].state == State::gone) ++next_;
  }

  void ran(std::size_t name) {
    skip_cancelled();
    WEIR_CHECK(next_ < batch_.size() && batch_[next_] == name, "timer {} runs out of order", name);
    ++next_;
    Timer& timer = timers_[name];
    if (timer.period == Duration::zero()) {
      timer.state = State::gone;
    } else {
      timer.deadline += ((now_ - timer.deadline) / timer.period + 1) * timer.period;
    }
    switch (script_.byte() % 8) {
      case 1:
        return schedule();
      case 2:
        return cancel();
      case 3:
        throwing_ = true;
        throw std::runtime_error("as scripted");
      default:  // also behind the end of the script
        return;
    }
  }

  // After a timer has thrown, the rest of its batch comes first.
  void expire() {
    if (next_ == batch_.size()) collect();
    throwing_ = false;
    try {
      queue_.expire(now_);
    } catch (const std::runtime_error&) {
      WEIR_CHECK(throwing_, "another exception");
      return;
    }
    WEIR_CHECK(!throwing_, "an exception is lost");
    skip_cancelled();
    WEIR_CHECK(next_ == batch_.size(), "timer {} was due and did not run", batch_[next_]);
  }

  void check() {
    std::size_t set = 0;
    std::optional<TimePoint> next;
    for (const Timer& timer : timers_) {
      if (timer.state != State::set) continue;
      ++set;
      if (!next || timer.deadline < *next) next = timer.deadline;
    }
    WEIR_CHECK(queue_.size() == set, "{} timers, it has {}", set, queue_.size());
    if (next_ < batch_.size()) next = TimePoint::min();
    WEIR_CHECK(queue_.next() == next, "the next deadline differs");
    if (++steps_ % 16 == 0) static_cast<void>(queue_.memory());  // checks all invariants
  }

  Script script_;
  TimePoint now_{std::chrono::hours(1000)};
  TimerQueue queue_;
  std::vector<Timer> timers_;
  std::vector<std::size_t> batch_;  // names of the timers of the last expire(), in order
  std::size_t next_ = 0;            // in batch_: those before it have run
  unsigned steps_ = 0;
  bool throwing_ = false;
};

void fuzz_timers(Bytes input) { TimerScript(input).run(); }

const Target kTarget("timers", fuzz_timers);

}  // namespace
}  // namespace weir::fuzz
