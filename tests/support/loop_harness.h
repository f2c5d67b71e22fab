// A loop of this thread with a fault table under it: the ground of the other harnesses. [loop]
//
//   LoopHarness house;
//   house.faults.on(Call::accept4).nth(1).fail(ECONNABORTED);
//   EXPECT_TRUE(house.until([&] { return done; }));
#pragma once

#include <functional>

#include "support/fault_table.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test {

struct LoopHarness {
  explicit LoopHarness(const EventLoop::Options& options = {}) : loop(options) {}
  LoopHarness(const LoopHarness&) = delete;
  LoopHarness& operator=(const LoopHarness&) = delete;

  // Runs the loop until `done` returns true; false after the deadline.
  [[nodiscard]] bool until(const std::function<bool()>& done, Duration deadline = kDeadline) {
    return run_until(loop, done, deadline);
  }
  // Turns that do not sleep.
  void turns(int n) { run_turns(loop, n); }

  FaultTable faults;  // before the loop, which makes system calls to its end
  ScopedFaults use{faults};
  EventLoop loop;
};

// Moves the clock and lets the loop see it.
inline void pass(LoopHarness& harness, Duration time) {
  harness.faults.advance_clock(time);
  harness.turns(2);
}

}  // namespace weir::test
