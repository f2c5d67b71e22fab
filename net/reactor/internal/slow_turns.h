// SlowTurns: what a loop remembers of its turns that took longer than a tick. [loop]
//
// What happens in a turn is noted with the tick at which the turn began, which costs a message one
// store. It may have happened at any time until the turn ended, so a deadline that counts from such
// a note counts from that end: never early, also when a callback has held the loop.
#pragma once

#include <array>
#include <cstddef>

#include "weir/net/reactor/internal/idle_wheel.h"

namespace weir::internal {

class SlowTurns {
 public:
  // Where more are to be remembered, the neighbours that took least become one, in which every note
  // counts as if its turn had taken as long as the longest of them.
  static constexpr std::size_t kRemembered = 32;

  void note(Tick began, Tick ended);
  // The latest time at which that may have happened which was noted at `tick`.
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
