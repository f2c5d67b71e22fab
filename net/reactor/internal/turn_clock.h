// TurnClock: the times that a turn uses. [loop]
//
// now() is the time at which the turn woke up. Timers and deadlines are compared with earlier
// times, because the process may be stopped, or a callback may block, between the arrival of data
// and the reading of the clock.
#pragma once

#include <cstddef>

#include "weir/base/clock.h"
#include "weir/net/reactor/internal/idle_wheel.h"
#include "weir/net/reactor/internal/slow_turns.h"

namespace weir::internal {

class TurnClock {
 public:
  explicit TurnClock(TimePoint now)
      : now_(now), tick_(tick_of(now)), timers_until_(now), deadlines_until_(now) {}

  TimePoint now() const { return now_; }
  Tick tick() const { return tick_; }
  // The latest time at which an event recorded with this tick() may have happened.
  Tick latest(Tick noted) const { return slow_turns_.latest(noted); }
  // Timers with a deadline up to this time run in this turn.
  TimePoint timers_until() const { return timers_until_; }
  // The same for deadlines about peers: all data that arrived up to this time has been dispatched.
  TimePoint deadlines_until() const { return deadlines_until_; }

  // A turn begins.
  void wake(TimePoint now) {
    now_ = now;
    tick_ = tick_of(now);
    in_turn_ = true;
  }
  bool in_turn() const { return in_turn_; }
  // The turn has ended. Returns its duration or, outside a turn, the time since the last call.
  Duration end(TimePoint now);
  // The next end() does not count the time before `now`.
  void skip_to(TimePoint now) { now_ = now; }

  // The wait of this turn began at `before` and took at most `timeout`. It reported `found` of
  // `channels`; `full`: as many as fit into one batch.
  void polled(TimePoint before, Duration timeout, std::size_t found, bool full,
              std::size_t channels);
  // From now on epoll reports in another order.
  void order_changed() { full_events_ = 0; }

 private:
  TimePoint now_;
  Tick tick_;
  SlowTurns slow_turns_;
  TimePoint timers_until_;
  TimePoint deadlines_until_;
  TimePoint full_since_;         // the begin of the first of the current series of full batches
  std::size_t full_events_ = 0;  // the events in them; 0: there is no such series
  bool in_turn_ = false;
};

}  // namespace weir::internal
