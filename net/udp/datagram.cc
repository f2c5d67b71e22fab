#include "weir/net/udp/datagram.h"

#include <netinet/in.h>

#include <cstring>
#include <tuple>

#include "weir/base/byte_order.h"

namespace weir {

namespace {

// in_pktinfo and in6_pktinfo differ in size and have no field that identifies them. So the family
// of the peer decides: it is the family of the socket.
bool is_ipv6(const AddressView& peer) { return peer.data()->sa_family == AF_INET6; }

template <typename T>
T read_as(const void* from) {
  T value{};
  std::memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace

std::uint16_t AddressView::port() const {
  if (empty()) return 0;
  if (data_->sa_family == AF_INET) return network_to_host(read_as<sockaddr_in>(data_).sin_port);
  if (data_->sa_family == AF_INET6) return network_to_host(read_as<sockaddr_in6>(data_).sin6_port);
  return 0;
}

PacketInfo::PacketInfo(const Datagram& in) {
  if (in.packet_info == nullptr || in.peer.empty()) return;
  static_assert(sizeof(in6_pktinfo) == std::tuple_size_v<decltype(bytes_)>);
  static_assert(sizeof(in_pktinfo) <= sizeof(in6_pktinfo));
  size_ = is_ipv6(in.peer) ? sizeof(in6_pktinfo) : sizeof(in_pktinfo);
  std::memcpy(bytes_.data(), in.packet_info, size_);
}

internal::LocalIp internal::local_ip_of(const Datagram& in) {
  LocalIp result{};
  if (in.packet_info == nullptr || in.peer.empty()) return result;
  if (is_ipv6(in.peer)) {
    const auto info = read_as<in6_pktinfo>(in.packet_info);
    std::memcpy(result.data(), &info.ipi6_addr, sizeof(info.ipi6_addr));
  } else {
    const auto info = read_as<in_pktinfo>(in.packet_info);
    std::memcpy(result.data(), &info.ipi_addr, sizeof(info.ipi_addr));
  }
  return result;
}

SocketAddress Datagram::local_address() const {
  if (packet_info == nullptr || peer.empty()) return {};
  if (is_ipv6(peer)) {
    const auto info = read_as<in6_pktinfo>(packet_info);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&info.ipi6_addr)) {
      address.sin6_scope_id = info.ipi6_ifindex;
    }
    return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address),
                                        sizeof(address));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr = read_as<in_pktinfo>(packet_info).ipi_addr;
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

unsigned Datagram::interface_index() const {
  if (packet_info == nullptr || peer.empty()) return 0;
  if (is_ipv6(peer)) return read_as<in6_pktinfo>(packet_info).ipi6_ifindex;
  return static_cast<unsigned>(read_as<in_pktinfo>(packet_info).ipi_ifindex);
}

}  // namespace weir
