#include "weir/net/udp/udp_serve.h"

#include "weir/base/result.h"
#include "weir/net/reactor/run_until_signal.h"
#include "weir/net/udp/udp_server.h"

namespace weir {

int serve(EventLoop& loop, UdpServer& server, const std::vector<std::string>& addresses,
          Duration deadline) {
  const auto parsed = parse_addresses(addresses);  // all, before the first is listened on
  if (!parsed) return 2;
  std::vector<SocketAddress> bound;
  for (const SocketAddress& address : *parsed) {
    const auto one = server.listen(address);
    if (!one) return fail(one.error());
    bound.push_back(*one);
  }
  run_until_signal(loop, bound, [&] { server.shutdown(deadline, [&loop] { loop.stop(); }); });
  return 0;
}

}  // namespace weir
