// TokenBucket: limits the rate of an event, with bursts of a bounded size. Lock-free. [any]
#pragma once

#include "weir/base/requirements.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

#include "weir/base/clock.h"

namespace weir::internal {

class TokenBucket {
 public:
  // Gets `per_second` tokens a second (1 to 10^9) and starts full. It holds the tokens of the time
  // `burst`, at least one.
  constexpr TokenBucket(std::uint64_t per_second, Duration burst)
      : interval_(kSecond / static_cast<std::int64_t>(
                                std::clamp<std::uint64_t>(per_second, 1, std::uint64_t{kSecond}))),
        burst_((std::max<std::int64_t>)(burst.count(), interval_)) {}

  // Zero: a token was taken. Otherwise there was no token; returns the time until there is one.
  Duration take(TimePoint when) noexcept {
    const std::int64_t now = when.time_since_epoch().count();
    std::int64_t full_at = full_at_.load(std::memory_order_relaxed);
    std::int64_t next = 0;
    do {
      next = (std::max)(full_at, now) + interval_;
      if (next - now > burst_) return Duration(next - now - burst_);
    } while (!full_at_.compare_exchange_weak(full_at, next, std::memory_order_relaxed));
    return Duration::zero();
  }
  // Returns a token that was taken but not used.
  void give_back() noexcept { full_at_.fetch_sub(interval_, std::memory_order_relaxed); }

 private:
  static constexpr std::int64_t kSecond = 1'000'000'000;

  const std::int64_t interval_;  // ns between two tokens
  const std::int64_t burst_;     // ns
  // The time at which the bucket will be full, in ns of Clock. It is full if that time has passed.
  std::atomic<std::int64_t> full_at_{(std::numeric_limits<std::int64_t>::min)()};
};

}  // namespace weir::internal
