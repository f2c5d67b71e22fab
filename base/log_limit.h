// How often one place in the source may write to the log.
#pragma once

#include "weir/base/requirements.h"

#include <atomic>
#include <cstdint>
#include <limits>

#include "weir/base/clock.h"

namespace weir {

// A token bucket, filled at `per_second` and holding one second's worth, without a lock. [any]
class LogLimit {
 public:
  constexpr explicit LogLimit(unsigned per_second)
      : interval_(std::int64_t{1'000'000'000} / (per_second == 0 ? 1 : per_second)) {}

  // Whether this line may be written; if so, `suppressed` is how many were not since the last one.
  bool admit(std::uint64_t& suppressed) noexcept { return admit(Clock::now(), suppressed); }
  bool admit(TimePoint now, std::uint64_t& suppressed) noexcept;

 private:
  const std::int64_t interval_;  // ns between two tokens
  // When the bucket will be full again, ns of Clock. (A full bucket is a time that has passed.)
  std::atomic<std::int64_t> full_at_{(std::numeric_limits<std::int64_t>::min)()};
  std::atomic<std::uint64_t> suppressed_{0};
};

}  // namespace weir
