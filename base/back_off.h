// BackOff: the time to wait before the next try. It doubles from `initial` to `max`. A random part
// of up to `jitter` is subtracted, so that clients that failed at the same time do not all retry at
// the same time. [one thread at a time]
#pragma once

#include <algorithm>
#include <chrono>

#include "weir/base/clock.h"

namespace weir::internal {

class BackOff {
 public:
  // The shortest wait, whatever `initial` is: an operation that fails immediately must not spin.
  static constexpr Duration kLeast = std::chrono::milliseconds(1);

  // jitter: a fraction from 0 to 1.
  BackOff(Duration initial, Duration max, double jitter = 0)
      : initial_(std::max(initial, kLeast)),
        max_(std::max(max, initial_)),
        jitter_(jitter > 0 ? std::min(jitter, 1.0) : 0.0),
        current_(initial_) {}

  // The next wait without its jitter.
  Duration current() const { return current_; }
  void reset() { current_ = initial_; }
  // Returns the next wait and doubles the one after it. `random`, for the jitter, is in [0, 1).
  Duration next(double random = 0) {
    const Duration whole = current_;
    current_ = whole > max_ / 2 ? max_ : whole * 2;
    const std::chrono::duration<double, Duration::period> left_out(
        static_cast<double>(whole.count()) * jitter_ * random);
    return std::max(whole - std::chrono::duration_cast<Duration>(left_out), kLeast);
  }

 private:
  const Duration initial_;
  const Duration max_;
  const double jitter_;
  Duration current_;
};

}  // namespace weir::internal
