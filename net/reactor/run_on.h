// run_on(): for the classes that have parts on several loops. Internal to weir. [any]
#pragma once

#include <functional>

#include "weir/net/reactor/event_loop.h"

namespace weir::internal {

// Runs fn on the loop's thread and waits for it. What fn throws comes out here.
void run_on(EventLoop& loop, std::move_only_function<void()> fn);

}  // namespace weir::internal
