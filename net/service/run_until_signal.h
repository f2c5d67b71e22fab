// run_until_signal(): the last line of a server's main(). [loop]
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

// The addresses of a command line; one that is none is said on standard error, and there is
// nothing.
std::optional<std::vector<SocketAddress>> parse_addresses(const std::vector<std::string>& texts);

// Prints "listening on ADDRESS" for each to standard output, and runs the loop. On SIGINT or
// SIGTERM calls `end`, which has the loop stop in the end; a second signal, more than 100 ms after
// the first, ends the process at once, with 128 + its number, also if the loop is stuck in a
// callback. (What comes sooner is the same request.) Meanwhile SIGPIPE does not end the process,
// unless the program handles it itself. On one loop of a process at a time. Throws what
// EventLoop::run() throws.
void run_until_signal(EventLoop& loop, const std::vector<SocketAddress>& listening,
                      std::move_only_function<void()> end);

}  // namespace weir
