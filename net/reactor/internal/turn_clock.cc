#include "weir/net/reactor/internal/turn_clock.h"

#include <algorithm>

namespace weir::internal {

Duration TurnClock::end(TimePoint now) {
  // What the turn has noted with tick_ happened by `now`.
  const Tick ended = tick_of(now);
  if (in_turn_ && ended != tick_) slow_turns_.note(tick_, ended);
  const Duration took = now - now_;
  now_ = now;
  in_turn_ = false;
  return took;
}

// A batch that is not full holds everything that was ready `before` the wait. A full one may not;
// but epoll reports ready descriptors in turn, so once as many events as there are channels have
// been taken, everything that was ready before the first of these batches was among them.
void TurnClock::looked(TimePoint before, Duration timeout, std::size_t found, bool full,
                       std::size_t channels) {
  if (found == 0 && timeout > Duration::zero() && timeout < Duration::max()) {
    before = std::min(now_, saturating_add(before, timeout));  // nothing was ready at its end
  }
  timers_until_ = before;
  if (!full && look_events_ == 0) [[likely]] {
    deadlines_until_ = before;
    return;
  }
  if (look_events_ == 0) look_began_ = before;
  look_events_ += found;
  if (full && look_events_ < channels) return;
  deadlines_until_ = look_began_;
  look_events_ = 0;
}

}  // namespace weir::internal
