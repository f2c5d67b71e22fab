// LogLimit: bounds how often one place in the source writes to the log.
#pragma once

#include "weir/base/requirements.h"

#include <atomic>
#include <chrono>
#include <cstdint>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/token_bucket.h"

namespace WEIR_EXPORT weir {

// Admits `per_second` lines a second, in bursts of at most `per_second` lines. [any]
class LogLimit {
 public:
  constexpr explicit LogLimit(unsigned per_second) : bucket_(per_second, std::chrono::seconds(1)) {}

  // True: this line may be written, and `suppressed` is set to the number of lines that were
  // refused since the last admitted one.
  bool admit(std::uint64_t& suppressed) noexcept;
  bool admit(TimePoint now, std::uint64_t& suppressed) noexcept;

 private:
  internal::TokenBucket bucket_;
  std::atomic<std::uint64_t> suppressed_{0};
};

}  // namespace weir
