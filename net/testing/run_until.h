// Functions that drive an EventLoop from a test. [loop]
#pragma once

#include <chrono>
#include <functional>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"

namespace weir {
namespace WEIR_EXPORT testing {

// Runs turns of the loop until `done` returns true. Returns false if it has not at the deadline,
// which is real time even under a FakeClock. `done` is called before each turn and once at the end.
// An EventLoop::stop() by the program ends only the current turn.
[[nodiscard]] bool run_until(EventLoop& loop, const std::function<bool()>& done,
                             Duration deadline = std::chrono::seconds(5));

// Runs one turn that does not sleep: serves once everything that is ready, due or posted.
void run_turn(EventLoop& loop);

}  // namespace testing
}  // namespace weir
