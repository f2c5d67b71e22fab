#include "weir/net/reactor/run_until_signal.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "weir/net/reactor/signal_set.h"

namespace weir {

std::optional<std::vector<SocketAddress>> parse_addresses(const std::vector<std::string>& texts) {
  std::vector<SocketAddress> parsed;
  for (const std::string& text : texts) {
    const auto address = SocketAddress::parse(text);
    if (!address) {
      fail(address.error());
      return std::nullopt;
    }
    parsed.push_back(*address);
  }
  return parsed;
}

void run_until_signal(EventLoop& loop, const std::vector<SocketAddress>& listening,
                      std::move_only_function<void()> end) {
  bool stopping = false;
  const SignalSet signals(loop, {SIGINT, SIGTERM}, [&](int signal) {
    if (std::exchange(stopping, true)) std::_Exit(128 + signal);  // asked twice
    end();
  });

  std::string ready;
  for (const SocketAddress& address : listening) {
    ready += "listening on " + address.to_string() + "\n";
  }
  std::fputs(ready.c_str(), stdout);
  std::fflush(stdout);

  loop.run();
}

}  // namespace weir
