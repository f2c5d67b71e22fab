#include "weir/net/reactor/internal/turn_clock.h"

#include <algorithm>

namespace weir::internal {

Duration TurnClock::end(TimePoint now) {
  // All events recorded with tick_ happened until `now`.
  const Tick ended = tick_of(now);
  if (in_turn_ && ended != tick_) slow_turns_.note(tick_, ended);
  const Duration took = now - now_;
  now_ = now;
  in_turn_ = false;
  return took;
}

// A batch that is not full has every descriptor that was ready `before` the wait. A full one may
// not have all. But epoll reports ready descriptors in turn: once as many events as there are
// channels have been taken, they include every descriptor that was ready before the first of these
// batches.
void TurnClock::polled(TimePoint before, Duration timeout, std::size_t found, bool full,
                       std::size_t channels) {
  if (found == 0 && timeout > Duration::zero() && timeout < Duration::max()) {
    before = std::min(now_, saturating_add(before, timeout));  // nothing was ready by its end
  }
  timers_until_ = before;
  if (!full && full_events_ == 0) [[likely]] {
    deadlines_until_ = before;
    return;
  }
  if (full_events_ == 0) full_since_ = before;
  full_events_ += found;
  if (full && full_events_ < channels) return;
  deadlines_until_ = full_since_;
  full_events_ = 0;
}

}  // namespace weir::internal
