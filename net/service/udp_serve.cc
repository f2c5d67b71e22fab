#include "weir/net/service/udp_serve.h"

#include "weir/net/service/serve_group.h"
#include "weir/net/udp/udp_server.h"

namespace weir {

int serve(EventLoop& loop, UdpServer& server, const std::vector<std::string>& addresses,
          Duration deadline) {
  ServeGroup alone(loop);
  alone.add(server, addresses, deadline);
  return alone.run();
}

}  // namespace weir
