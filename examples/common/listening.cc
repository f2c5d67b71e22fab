#include "common/listening.h"

#include <cstdio>

#include "weir/base/result.h"

namespace sample {

void listen_on(weir::TcpServer& server, const std::vector<weir::SocketAddress>& addresses) {
  for (const weir::SocketAddress& address : addresses) {
    const auto bound = server.listen(address);
    if (!bound) throw weir::SystemError(bound.error());
    std::printf("listening on %s\n", bound->to_string().c_str());
  }
  std::fflush(stdout);
}

}  // namespace sample
