// run_on(): for the classes that have parts on several loops. Internal to weir. [any]
#pragma once

#include <functional>

#include "weir/net/reactor/event_loop.h"

namespace weir::internal {

// Runs fn on the loop's thread, as if in a turn of the loop, and waits for it. What fn throws comes
// out here. SystemError (ECANCELED) when the loop has ended, and fn was not run.
void run_on(EventLoop& loop, std::move_only_function<void()> fn);

// The same, for what is to be taken back: false when the loop has ended.
bool try_run_on(EventLoop& loop, std::move_only_function<void()> fn);

}  // namespace weir::internal
