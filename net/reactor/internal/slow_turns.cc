#include "weir/net/reactor/internal/slow_turns.h"

#include <algorithm>

namespace weir::internal {

namespace {

// No deadline is set further ahead than this (ticks_of), so older turns are not needed.
constexpr Tick kOld = 0x3fffffff;

}  // namespace

void SlowTurns::note(Tick began, Tick ended) {
  forget_old(ended);
  if (size_ == kRemembered) merge_two();
  ranges_[size_++] = {.first = began, .last = began, .took = ended - began};
}

void SlowTurns::forget_old(Tick now) {
  std::size_t old = 0;
  while (old < size_ && now - ranges_[old].last > kOld) ++old;
  if (old == 0) return;
  std::copy(ranges_.begin() + old, ranges_.begin() + size_, ranges_.begin());
  size_ -= old;
}

void SlowTurns::merge_two() {
  std::size_t best = 0;
  const auto both = [this](std::size_t i) {
    return std::max(ranges_[i].took, ranges_[i + 1].took);
  };
  for (std::size_t i = 1; i + 1 < size_; ++i) {
    if (both(i) < both(best)) best = i;
  }
  ranges_[best] = {
      .first = ranges_[best].first, .last = ranges_[best + 1].last, .took = both(best)};
  std::copy(ranges_.begin() + best + 2, ranges_.begin() + size_, ranges_.begin() + best + 1);
  --size_;
}

Tick SlowTurns::latest(Tick tick) const {
  for (std::size_t i = size_; i > 0; --i) {
    const Range& range = ranges_[i - 1];
    if (!tick_reached(range.first, tick)) continue;
    return tick_reached(tick, range.last) ? tick + range.took : tick;
  }
  return tick;
}

}  // namespace weir::internal
