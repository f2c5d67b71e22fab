// run_on(): for classes that have parts on several loops. Internal to weir. [any]
#pragma once

#include <functional>

#include "weir/net/reactor/event_loop.h"

namespace weir::internal {

// Runs fn on the loop's thread, as if in a turn of the loop, waits for it, and rethrows its
// exception. Throws SystemError (ECANCELED) when the loop has ended; fn was then not run.
void run_on(EventLoop& loop, std::move_only_function<void()> fn);

// The same, for clean-up: returns false when the loop has ended.
bool try_run_on(EventLoop& loop, std::move_only_function<void()> fn);

}  // namespace weir::internal
