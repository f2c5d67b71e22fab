#include "weir/net/tcp/serve.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "weir/net/reactor/signal_set.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir {

int serve(EventLoop& loop, TcpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options) {
  std::vector<SocketAddress> parsed;  // all, before the first is listened on
  for (const std::string& text : addresses) {
    const auto address = SocketAddress::parse(text);
    if (!address) {
      fail(address.error());
      return 2;
    }
    parsed.push_back(*address);
  }
  std::vector<SocketAddress> bound;
  for (const SocketAddress& address : parsed) {
    const auto one = server.listen(address);
    if (!one) return fail(one.error());
    bound.push_back(*one);
  }
  return serve_bound(loop, server, bound, std::move(options));
}

int serve_bound(EventLoop& loop, TcpServer& server, const std::vector<SocketAddress>& bound,
                ServeOptions options) {
  bool stopping = false;
  const SignalSet signals(loop, {SIGINT, SIGTERM}, [&](int signal) {
    if (stopping) std::_Exit(128 + signal);  // asked twice
    stopping = true;
    if (options.on_stop) options.on_stop();
    server.shutdown(options.deadline, [&loop] { loop.stop(); });
  });

  std::string ready;
  for (const SocketAddress& address : bound) ready += "listening on " + address.to_string() + "\n";
  std::fputs(ready.c_str(), stdout);
  std::fflush(stdout);

  loop.run();
  return 0;
}

}  // namespace weir
