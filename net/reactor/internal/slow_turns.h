// SlowTurns: the latest turns of a loop that took longer than a tick. [loop]
//
// An event in a turn is recorded with the tick at which the turn began, which costs a message one
// store. The event may have happened at any time until the turn ended, so a deadline that counts
// from the event counts from the end of the turn. So it is never early, even if a callback held the
// loop.
#pragma once

#include <array>
#include <cstddef>

#include "weir/net/reactor/internal/idle_wheel.h"

namespace weir::internal {

class SlowTurns {
 public:
  // If there are more, the two neighbours with the shortest duration are merged into one range.
  // Every tick in it counts as if its turn had taken as long as the longest turn of the range.
  static constexpr std::size_t kRemembered = 32;

  void note(Tick began, Tick ended);
  // The latest time at which an event recorded with `tick` may have happened.
  Tick latest(Tick tick) const;

 private:
  struct Range {
    Tick first;  // began
    Tick last;
    Tick took;
  };
  void forget_old(Tick now);
  void merge_two();

  std::array<Range, kRemembered> ranges_;  // in order
  std::size_t size_ = 0;
};

}  // namespace weir::internal
