// StartTimes: the start times of the messages in flight, oldest first. A ring whose size is a power
// of two; it keeps its memory.
#pragma once

#include <cstddef>
#include <vector>

#include "weir/base/clock.h"

namespace weir::load {

class StartTimes {
 public:
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  TimePoint front() const { return times_[first_]; }
  void push(TimePoint time) {
    if (size_ == times_.size()) grow();
    times_[(first_ + size_++) & (times_.size() - 1)] = time;
  }
  void pop() {
    first_ = (first_ + 1) & (times_.size() - 1);
    --size_;
  }
  void clear() { first_ = size_ = 0; }

 private:
  void grow() {
    std::vector<TimePoint> larger(times_.empty() ? 1 : 2 * times_.size());
    for (std::size_t i = 0; i < size_; ++i) larger[i] = times_[(first_ + i) & (times_.size() - 1)];
    times_ = std::move(larger);
    first_ = 0;
  }

  std::vector<TimePoint> times_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace weir::load
