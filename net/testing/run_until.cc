#include "weir/net/testing/run_until.h"

#include <thread>

namespace weir::testing {

namespace {

// The pause between two turns, which leaves the processor to the thread or process that a test
// waits for.
constexpr Duration kRest = std::chrono::microseconds(200);

}  // namespace

bool run_until(EventLoop& loop, const std::function<bool()>& done, Duration deadline) {
  const TimePoint end = saturating_add(Clock::now(), deadline);
  while (!done()) {
    if (Clock::now() >= end) return false;
    run_turn(loop);
    std::this_thread::sleep_for(kRest);
  }
  return true;
}

void run_turn(EventLoop& loop) {
  loop.post([&loop] { loop.stop(); });
  loop.run();
}

}  // namespace weir::testing
