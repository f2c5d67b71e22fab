#include "load/source_network.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>
#include <string>

namespace weir::load {

namespace {

Error not_a_network(std::string_view text) {
  return Error(
      fmt::format("--source {}: not an IPv4 address or network such as 127.0.0.0/8", text));
}

}  // namespace

Result<SourceNetwork> SourceNetwork::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto host = SocketAddress::from_ip(text.substr(0, slash), 0);
  if (!host || host->family() != SocketAddress::Family::ipv4) {
    return std::unexpected(not_a_network(text));
  }
  unsigned bits = 32;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || bits < 1 || bits > 32) {
      return std::unexpected(not_a_network(text));
    }
  }
  sockaddr_in address{};
  std::memcpy(&address, host->data(), sizeof address);
  const std::uint64_t size = std::uint64_t{1} << (32 - bits);
  const std::uint32_t ip = ntohl(address.sin_addr.s_addr);
  if (size <= 2) return SourceNetwork(ip, 1);
  const auto network = static_cast<std::uint32_t>(ip & ~(size - 1));
  return SourceNetwork(network + 1, size - 2);
}

SocketAddress SourceNetwork::address(std::uint64_t n) const {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(first_ + static_cast<std::uint32_t>(n % count_));
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace weir::load
