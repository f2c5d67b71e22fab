// FakeClock: while it lives, time stands still for the loops of this thread, and moves when a test
// says so. So a test of a timeout of five minutes takes no time, and none is late on a busy
// machine. [the thread that made it]
//
//   weir::testing::FakeClock clock;           // before the loop
//   weir::EventLoop loop;
//   ...
//   clock.advance(std::chrono::minutes(5));
//   weir::testing::run_turn(loop);            // what is due by now runs
//
// Drive the loop by run_turn() or run_until(): EventLoop::run() sleeps in real time, and would find
// no time gone. Loops that a LoopPool or a server starts on threads of their own see the same
// clock.
#pragma once

#include <memory>

#include "weir/base/clock.h"
#include "weir/base/export.h"

namespace weir {
namespace WEIR_EXPORT testing {

class FakeClock {
 public:
  // It begins at the real time.
  FakeClock();
  // After the loops.
  ~FakeClock();
  FakeClock(const FakeClock&) = delete;
  FakeClock& operator=(const FakeClock&) = delete;

  // Forward only (CHECK).
  void advance(Duration by);
  TimePoint now() const;

 private:
  class Table;
  std::unique_ptr<Table> table_;
};

}  // namespace testing
}  // namespace weir
