// SocketAddress: an IPv4, IPv6 or Unix address as a value. [any]
//
// Text forms, for parse() and to_string():
//   127.0.0.1:80   [::1]:80   [fe80::1%eth0]:80   unix:/path   unix:@abstract
// Host names are not resolved. In a Unix path or name, \xNN is a byte and \\ is a backslash;
// to_string() writes all bytes except printable ASCII as \xNN. A path that begins with @ is written
// as unix:\x40...
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"

namespace WEIR_EXPORT weir {

class SocketAddress {
 public:
  enum class Family : std::uint8_t { unspecified, ipv4, ipv6, unix_path, unix_abstract };

  SocketAddress() = default;  // unspecified; to_string() is "unspecified"

  static Result<SocketAddress> parse(std::string_view text);
  // `host`: an IPv4 or IPv6 address without a port, such as "0.0.0.0" or "::"; brackets are
  // optional.
  static Result<SocketAddress> from_ip(std::string_view host, std::uint16_t port);
  // A file-system path of 1 to 107 bytes without NUL (unix(7)).
  static Result<SocketAddress> from_unix_path(std::string_view path);
  // A name of 1 to 107 arbitrary bytes in the abstract namespace of Linux (unix(7)).
  static Result<SocketAddress> from_unix_abstract(std::string_view name);
  // From a sockaddr of the kernel or of another library. The result is unspecified if the family is
  // not listed above, if `length` is too short, or for a Unix socket without a name (as most Unix
  // clients have). data() and size() are the reverse.
  static SocketAddress from_sockaddr(const sockaddr* address, socklen_t length);
  // From the 4 bytes of an IPv4 or the 16 bytes of an IPv6 address, in network byte order, as in
  // protocols. Unspecified for any other size. ip_bytes() is the reverse.
  static SocketAddress from_ip_bytes(std::span<const std::byte> ip, std::uint16_t port,
                                     std::uint32_t scope_id = 0);
  static SocketAddress loopback_ipv4(std::uint16_t port);
  static SocketAddress loopback_ipv6(std::uint16_t port);

  Family family() const;
  bool is_ip() const;
  bool is_unix() const;
  bool is_v4_mapped() const;                 // ::ffff:a.b.c.d
  SocketAddress without_v4_mapping() const;  // a.b.c.d for a mapped address; else *this
  bool is_multicast() const;                 // 224.0.0.0/4, ff00::/8
  std::uint16_t port() const;                // 0 for Unix addresses
  SocketAddress with_port(std::uint16_t port) const;
  std::uint32_t scope_id() const;               // IPv6 only
  std::span<const std::byte> ip_bytes() const;  // 4 or 16; empty for Unix addresses
  std::string ip() const;         // without port and brackets; empty for Unix addresses
  std::string unix_name() const;  // path, or abstract name without the leading NUL
  std::string to_string() const;

  // For calls that take a sockaddr, such as bind(2). Valid as long as this object.
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return length_; }

  // Equal: same family, address, port and scope. A v4-mapped address differs from its plain form.
  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.length_ == b.length_ && std::memcmp(&a.storage_, &b.storage_, a.length_) == 0;
  }
  // Uses the random key of this process (keyed_hash.h), so that peers cannot cause collisions.
  std::size_t hash() const;

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace weir

template <>
struct std::hash<weir::SocketAddress> {
  std::size_t operator()(const weir::SocketAddress& address) const { return address.hash(); }
};
