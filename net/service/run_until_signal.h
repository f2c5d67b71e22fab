// run_until_signal(): runs the loop of a server until SIGINT or SIGTERM. [loop]
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

// Parses the addresses of a command line. If one is invalid, prints an error to standard error and
// returns nullopt.
std::optional<std::vector<SocketAddress>> parse_addresses(const std::vector<std::string>& texts);

// Prints "listening on ADDRESS" for each address to standard output, and runs the loop. On SIGINT
// or SIGTERM calls `end`, which must stop the loop sooner or later. A second signal more than
// 100 ms after the first ends the process immediately with status 128 + its number, even if the
// loop is stuck in a callback. (An earlier one counts as the same request.) While this function
// runs, SIGPIPE does not end the process, unless the program has set an action for it. Only one
// loop of a process can run it at a time (CHECK). Throws the exceptions of EventLoop::run().
void run_until_signal(EventLoop& loop, const std::vector<SocketAddress>& listening,
                      std::move_only_function<void()> end);

}  // namespace weir
