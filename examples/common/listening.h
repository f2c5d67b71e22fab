// Listening, for samples that cannot use weir::serve() because another loop runs theirs.
#pragma once

#include <vector>

#include "weir/net/socket/socket_address.h"
#include "weir/net/tcp/tcp_server.h"

namespace sample {

// Listens on all addresses and prints "listening on ADDRESS" for each. Throws SystemError.
void listen_on(weir::TcpServer& server, const std::vector<weir::SocketAddress>& addresses);

}  // namespace sample
