// SpinOracle: whether a loop sleeps while nothing progresses. The rule is at most 10 returns of
// epoll_wait(2) a second.
//
//   EXPECT_TRUE(rests(loop, faults));                       // a loop of this thread
//   SpinOracle oracle(faults); wait_a_while(); EXPECT_TRUE(oracle.quiet());   // loops elsewhere
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

#include "support/fault_table.h"
#include "weir/base/clock.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test {

class SpinOracle {
 public:
  // Starts measuring. The loops must use `faults` as their table.
  explicit SpinOracle(const FaultTable& faults);

  std::uint64_t waits() const { return faults_.waits() - waits_; }
  Duration elapsed() const { return Clock::now() - start_; }
  // Of one core.
  double thread_cpu_share() const;
  double process_cpu_share() const;
  // At most 10 returns a second, plus two for the timer that ends the measurement.
  ::testing::AssertionResult quiet() const;

 private:
  const FaultTable& faults_;
  const std::uint64_t waits_;
  const TimePoint start_;
  const Duration thread_cpu_;
  const Duration process_cpu_;
};

// Runs the loop for `time`; true if it kept the rule.
[[nodiscard]] ::testing::AssertionResult rests(EventLoop& loop, const FaultTable& faults,
                                               Duration time = std::chrono::milliseconds(400));

}  // namespace weir::test
