// TurnClock: the times that a turn goes by. [loop]
//
// now() is when the turn woke up. Timers and deadlines are judged by earlier times, because the
// process may be stopped, or a callback may block, between the arrival of data and the reading of
// the clock.
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
  // The latest time at which that may have happened which was noted with tick().
  Tick latest(Tick noted) const { return slow_turns_.latest(noted); }
  // Timers that were due then are due in this turn.
  TimePoint timers_until() const { return timers_until_; }
  // The same for deadlines about peers: everything that had arrived by then has been dispatched.
  TimePoint deadlines_until() const { return deadlines_until_; }

  // A turn begins.
  void wake(TimePoint now) {
    now_ = now;
    tick_ = tick_of(now);
    in_turn_ = true;
  }
  bool in_turn() const { return in_turn_; }
  // It has ended. Returns how long it took, or how long ago the last call was.
  Duration end(TimePoint now);
  // What lies before is not counted in the next end().
  void skip_to(TimePoint now) { now_ = now; }

  // In this turn, which is awake by now, the descriptors were looked at from `before` on, for at
  // most `timeout`. `found` of `channels` were reported; `full`: as many as can be at once.
  void looked(TimePoint before, Duration timeout, std::size_t found, bool full,
              std::size_t channels);
  // epoll reports from now on in another order.
  void order_changed() { look_events_ = 0; }

 private:
  TimePoint now_;
  Tick tick_;
  SlowTurns slow_turns_;
  TimePoint timers_until_;
  TimePoint deadlines_until_;
  TimePoint look_began_;         // of the batches that are full so far
  std::size_t look_events_ = 0;  // found in them; 0: no such look is under way
  bool in_turn_ = false;
};

}  // namespace weir::internal
