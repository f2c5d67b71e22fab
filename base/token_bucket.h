// TokenBucket: lets something happen at a rate, with bursts of a bounded size. Without a lock.
// [any]
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
  // Filled at `per_second`, from 1 to 10^9; holds what comes in `burst`, and one token at least.
  constexpr TokenBucket(std::uint64_t per_second, Duration burst)
      : interval_(kSecond / static_cast<std::int64_t>(
                                std::clamp<std::uint64_t>(per_second, 1, std::uint64_t{kSecond}))),
        burst_((std::max<std::int64_t>)(burst.count(), interval_)) {}

  // Zero: a token was taken. Else none was there, and this is how long until one will be.
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
  // The token that was taken last was not needed.
  void give_back() noexcept { full_at_.fetch_sub(interval_, std::memory_order_relaxed); }

 private:
  static constexpr std::int64_t kSecond = 1'000'000'000;

  const std::int64_t interval_;  // ns between two tokens
  const std::int64_t burst_;     // ns
  // When the bucket will be full again, ns of Clock. (A full bucket is a time that has passed.)
  std::atomic<std::int64_t> full_at_{(std::numeric_limits<std::int64_t>::min)()};
};

}  // namespace weir::internal
