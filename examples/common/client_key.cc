#include "common/client_key.h"

#include <netinet/in.h>

#include <cstring>

#include "weir/net/socket/socket_address.h"

namespace sample {

std::string client_key(const weir::TcpConnection& connection) {
  const weir::SocketAddress peer = connection.peer_address().without_v4_mapping();
  if (!peer.is_ip()) return "#" + std::to_string(connection.id());
  if (peer.data()->sa_family == AF_INET) return peer.ip();
  sockaddr_in6 address{};
  std::memcpy(&address, peer.data(), sizeof address);
  for (std::size_t i = 8; i < sizeof address.sin6_addr.s6_addr; ++i) {
    address.sin6_addr.s6_addr[i] = 0;
  }
  return weir::SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address),
                                            sizeof address)
      .ip();
}

}  // namespace sample
