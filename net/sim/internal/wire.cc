#include "weir/net/sim/internal/wire.h"

#include <algorithm>
#include <utility>

namespace weir::internal::sim {

std::optional<TimePoint> Wire::next() const {
  if (arrivals_.empty()) return std::nullopt;
  return arrivals_.front().at;
}

void Wire::send(TimePoint at, Arrival arrival) {
  arrivals_.push_back({.at = at, .number = ++sent_, .arrival = std::move(arrival)});
  std::push_heap(arrivals_.begin(), arrivals_.end());
}

void Wire::deliver() {
  while (!arrivals_.empty() && arrivals_.front().at <= now_) {
    std::pop_heap(arrivals_.begin(), arrivals_.end());
    Arrival arrival = std::move(arrivals_.back().arrival);
    arrivals_.pop_back();
    arrival();
  }
}

void Wire::advance_to(TimePoint time) {
  now_ = std::max(now_, time);
  deliver();
}

void Wire::cut() {
  while (!arrivals_.empty()) arrivals_.pop_back();
}

}  // namespace weir::internal::sim
