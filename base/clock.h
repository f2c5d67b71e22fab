// Time: one monotonic clock. weir never uses wall-clock time for timing, so changing the system
// time has no effect.
#pragma once

#include "weir/base/requirements.h"

#include <chrono>
#include <cstdint>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

using Duration = std::chrono::nanoseconds;

// CLOCK_MONOTONIC as a std::chrono clock. It does not advance while the machine is suspended.
// Clock::now() reads the kernel's clock directly; a loop's time comes from EventLoop::now().
struct Clock {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
  using time_point = std::chrono::time_point<Clock, Duration>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept {
    return time_point(
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }
};

using TimePoint = Clock::time_point;

// t + d without overflow: the result is limited to TimePoint::min() and TimePoint::max().
constexpr TimePoint saturating_add(TimePoint t, Duration d) {
  if (d > Duration::zero() && t > (TimePoint::max)() - d) return (TimePoint::max)();
  if (d < Duration::zero() && t < (TimePoint::min)() - d) return (TimePoint::min)();
  return t + d;
}

}  // namespace weir
