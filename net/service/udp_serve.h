// serve(): what main() does with a UdpServer once its handlers are set. [loop]
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "weir/base/clock.h"
#include "weir/net/reactor/event_loop.h"

namespace weir {

class UdpServer;

// Listens on the addresses, prints "listening on ADDRESS" for each to standard output once all are
// ready, and runs the loop until SIGINT or SIGTERM; then sends what waits, for `deadline` at most,
// and closes. A second signal ends the process at once. Returns what main() returns: 0; 1 when an
// address cannot be had, 2 when a text is none, each with a sentence on standard error. For signals
// see run_until_signal.h.
int serve(EventLoop& loop, UdpServer& server, const std::vector<std::string>& addresses,
          Duration deadline = std::chrono::seconds(2));

}  // namespace weir
