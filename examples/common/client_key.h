// The key by which limits per client are counted: many connections of one client have one key.
#pragma once

#include <string>

#include "weir/net/stream/tcp_connection.h"

namespace sample {

// An IPv4 address, or an IPv6 /64, the network of one subscriber (RFC 6177). Unix peers have no
// address: each of their connections has its own key. Call it in on_open: the kernel forgets the
// address when the peer resets. [loop]
std::string client_key(const weir::TcpConnection& connection);

}  // namespace sample
