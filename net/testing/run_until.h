// Driving an EventLoop from a test. [loop]
#pragma once

#include <chrono>
#include <functional>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"

namespace weir {
namespace WEIR_EXPORT testing {

// Turns the loop until `done` returns true; false when it has not by the deadline, which is real
// time also under a FakeClock. `done` is asked before each turn and once at the end. A stop() of
// the program's own ends the turn that it is called in, and nothing else.
[[nodiscard]] bool run_until(EventLoop& loop, const std::function<bool()>& done,
                             Duration deadline = std::chrono::seconds(5));

// One turn that does not sleep: what is ready, due or posted is served once.
void run_turn(EventLoop& loop);

}  // namespace testing
}  // namespace weir
