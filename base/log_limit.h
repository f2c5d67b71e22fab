// How often one place in the source may write to the log.
#pragma once

#include "weir/base/requirements.h"

#include <atomic>
#include <chrono>
#include <cstdint>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/token_bucket.h"

namespace WEIR_EXPORT weir {

// Lines at `per_second`, in bursts of one second's worth at most. [any]
class LogLimit {
 public:
  constexpr explicit LogLimit(unsigned per_second) : bucket_(per_second, std::chrono::seconds(1)) {}

  // Whether this line may be written; if so, `suppressed` is how many were not since the last one.
  bool admit(std::uint64_t& suppressed) noexcept;
  bool admit(TimePoint now, std::uint64_t& suppressed) noexcept;

 private:
  internal::TokenBucket bucket_;
  std::atomic<std::uint64_t> suppressed_{0};
};

}  // namespace weir
