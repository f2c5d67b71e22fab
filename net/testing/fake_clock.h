// FakeClock: during its lifetime the clock of the loops of this thread moves only when a test calls
// advance(). So a test of a timeout of five minutes takes no time, and does not depend on the load
// of the machine. [the thread that constructed it]
//
//   weir::testing::FakeClock clock;           // before the loop
//   weir::EventLoop loop;
//   ...
//   clock.advance(std::chrono::minutes(5));
//   weir::testing::run_turn(loop);            // runs everything that is due by now
//
// Drive the loop with run_turn() or run_until(). EventLoop::run() would sleep in real time, and
// then see that no time has passed. Loops that a LoopPool or a server starts on its own threads
// have the same clock.
#pragma once

#include <memory>

#include "weir/base/clock.h"
#include "weir/base/export.h"

namespace weir {
namespace WEIR_EXPORT testing {

class FakeClock {
 public:
  // Starts at the real time.
  FakeClock();
  // Destroy it after the loops.
  ~FakeClock();
  FakeClock(const FakeClock&) = delete;
  FakeClock& operator=(const FakeClock&) = delete;

  // `by` must not be negative (CHECK).
  void advance(Duration by);
  TimePoint now() const;

 private:
  class Table;
  std::unique_ptr<Table> table_;
};

}  // namespace testing
}  // namespace weir
