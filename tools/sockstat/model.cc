#include "sockstat/model.h"

#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "weir/base/log.h"
#include "weir/net/socket/socket_address.h"

namespace weir::sockstat {

std::string_view name_of(State state) {
  static constexpr std::array<std::string_view, kStates + 1> kNames = {
      "",          "ESTABLISHED", "SYN_SENT",   "SYN_RECV", "FIN_WAIT_1", "FIN_WAIT_2",
      "TIME_WAIT", "CLOSED",      "CLOSE_WAIT", "LAST_ACK", "LISTEN",     "CLOSING"};
  return kNames[static_cast<std::size_t>(state)];
}

std::optional<State> state_of(unsigned kernel_number) {
  if (kernel_number == 0 || kernel_number > kStates) return std::nullopt;
  return static_cast<State>(kernel_number);
}

std::string_view name_of(Timer timer) {
  static constexpr std::array<std::string_view, 5> kNames = {"none", "retransmit", "keep_alive",
                                                             "time_wait", "probe"};
  return kNames[static_cast<std::size_t>(timer)];
}

bool Endpoint::is_any() const {
  return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

Endpoint Endpoint::without_v4_mapping() const {
  static constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
  if (!v6 || !std::ranges::equal(kMapped, std::span(bytes).first(12))) return *this;
  Endpoint plain{.port = port};
  std::copy_n(bytes.begin() + 12, 4, plain.bytes.begin());
  return plain;
}

std::string Endpoint::text() const {
  if (!v6) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    std::memcpy(&address.sin_addr, bytes.data(), sizeof(address.sin_addr));
    return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address),
                                        sizeof(address))
        .to_string();
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  std::memcpy(&address.sin6_addr, bytes.data(), sizeof(address.sin6_addr));
  if (IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr)) address.sin6_scope_id = interface;
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), sizeof(address))
      .to_string();
}

std::string UnixSocket::text() const {
  if (name.empty()) return "unix:";
  const auto address = name[0] == '\0' ? SocketAddress::from_unix_abstract(name.substr(1))
                                       : SocketAddress::from_unix_path(name);
  if (address) return address->to_string();
  // A path may fill sun_path without a NUL; a SocketAddress cannot hold such a path.
  return "unix:" + (name.size() == sizeof(sockaddr_un::sun_path) ? weir::escaped(name) : "");
}

}  // namespace weir::sockstat
