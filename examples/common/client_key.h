// Whom a bound for one client counts: a client that opens many connections is still one.
#pragma once

#include <string>

#include "weir/net/stream/tcp_connection.h"

namespace sample {

// An IPv4 address, or an IPv6 /64, which is what one subscriber gets (RFC 6177). Unix peers have no
// address: each of their connections counts for itself. To be asked in on_open: the kernel forgets
// the address when the peer resets. [loop]
std::string client_key(const weir::TcpConnection& connection);

}  // namespace sample
