#include "weir/net/socket/socket_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "weir/base/byte_order.h"
#include "weir/base/keyed_hash.h"
#include "weir/base/log.h"
#include "weir/net/sys/process.h"

namespace weir {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr std::string_view kForms =
    "expected 127.0.0.1:80, [::1]:80, unix:/path or unix:@abstract-name";
// unix(7): sun_path has 108 bytes. A path needs one of them for its NUL, an abstract name one for
// the NUL in front.
constexpr std::size_t kMaxUnixName = sizeof(sockaddr_un::sun_path) - 1;
constexpr std::size_t kUnixHead = offsetof(sockaddr_un, sun_path);
// Longer than any numeric host (45 bytes and a scope of up to 15), so that nothing is truncated.
constexpr std::size_t kMaxHost = 255;
constexpr std::size_t kMaxQuoted = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void append_hex(std::string& out, char c) {
  constexpr std::string_view digits = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  out += "\\x";
  out += digits[byte >> 4];
  out += digits[byte & 15];
}

// Writes everything except printable ASCII as \xNN and doubles the backslash: safe on a terminal
// and in a log line. unescape_bytes() is the reverse.
std::string escape_bytes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (const char c : bytes) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      append_hex(out, c);
    }
  }
  return out;
}

std::optional<std::string> unescape_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '\\') {
      out += '\\';
      i += 1;
    } else if (i + 3 < text.size() && text[i + 1] == 'x' && hex_value(text[i + 2]) >= 0 &&
               hex_value(text[i + 3]) >= 0) {
      out += static_cast<char>(hex_value(text[i + 2]) * 16 + hex_value(text[i + 3]));
      i += 3;
    } else {
      return std::nullopt;
    }
  }
  return out;
}

Error bad(std::string_view what, std::string_view text, std::string_view why) {
  return Error(fmt::format("bad {} \"{}\": {}", what, escaped(text, kMaxQuoted), why));
}

// A decimal number without sign, space or leading zero.
template <typename T>
std::optional<T> strict_number(std::string_view text) {
  if (text.empty() || !std::ranges::all_of(text, is_digit)) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// True for a name that cannot be mistaken for a number or for another part of the address.
bool is_plain_interface_name(std::string_view name) {
  const auto plain = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_' || c == '@';
  };
  return !name.empty() && std::ranges::all_of(name, plain) && !std::ranges::all_of(name, is_digit);
}

std::optional<std::uint32_t> scope_from_text(std::string_view text) {
  if (!text.empty() && std::ranges::all_of(text, is_digit)) {
    const auto number = strict_number<std::uint32_t>(text);
    return number && *number != 0 ? number : std::nullopt;
  }
  if (text.empty() || text.size() >= IF_NAMESIZE) return std::nullopt;
  const auto index = internal::sys::interface_index(std::string(text));
  return index ? std::optional<std::uint32_t>(*index) : std::nullopt;
}

std::string scope_to_text(std::uint32_t scope) {
  const auto name = internal::sys::interface_name(scope);
  return name && is_plain_interface_name(*name) ? *name : std::to_string(scope);
}

template <typename T>
T read_as(const sockaddr_storage& storage) {
  T value;
  std::memcpy(&value, &storage, sizeof(value));
  return value;
}

SocketAddress make_ipv4(in_addr ip, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = host_to_network(port);
  address.sin_addr = ip;
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

SocketAddress make_ipv6(const in6_addr& ip, std::uint16_t port, std::uint32_t scope) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = host_to_network(port);
  address.sin6_addr = ip;
  address.sin6_scope_id = scope;
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

// The whole of `host` as an address; `text` is what an error quotes.
Result<SocketAddress> parse_ipv4(std::string_view host, std::uint16_t port, std::string_view what,
                                 std::string_view text) {
  in_addr ip{};
  if (host.size() > kMaxHost || inet_pton(AF_INET, std::string(host).c_str(), &ip) != 1) {
    return std::unexpected(
        bad(what, text,
            "the host must be four decimal numbers, as in 127.0.0.1 (host names are "
            "not resolved here), or an IPv6 address in brackets, as in [::1]:80"));
  }
  return make_ipv4(ip, port);
}

Result<SocketAddress> parse_ipv6(std::string_view host, std::uint16_t port, std::string_view what,
                                 std::string_view text) {
  std::uint32_t scope = 0;
  if (const auto percent = host.find('%'); percent != std::string_view::npos) {
    const auto found = scope_from_text(host.substr(percent + 1));
    if (!found) {
      return std::unexpected(bad(what, text,
                                 "% must be followed by the name or the number of a network "
                                 "interface of this machine, as in [fe80::1%eth0]:80"));
    }
    scope = *found;
    host = host.substr(0, percent);
  }
  in6_addr ip{};
  if (host.size() > kMaxHost || inet_pton(AF_INET6, std::string(host).c_str(), &ip) != 1) {
    return std::unexpected(
        bad(what, text, "the brackets must hold an IPv6 address, as in [::1]:80"));
  }
  return make_ipv6(ip, port, scope);
}

SocketAddress make_unix(std::string_view name, bool abstract) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + (abstract ? 1 : 0), name.data(), name.size());
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address),
                                      static_cast<socklen_t>(kUnixHead + name.size() + 1));
}

Result<SocketAddress> parse_unix(std::string_view text) {
  std::string_view name = text.substr(kUnixPrefix.size());
  const bool abstract = name.starts_with('@');
  if (abstract) name.remove_prefix(1);
  const auto bytes = unescape_bytes(name);
  if (!bytes) {
    return std::unexpected(bad("address", text,
                               "a backslash must be followed by a second backslash or by x and "
                               "two hexadecimal digits"));
  }
  return abstract ? SocketAddress::from_unix_abstract(*bytes)
                  : SocketAddress::from_unix_path(*bytes);
}

}  // namespace

Result<SocketAddress> SocketAddress::parse(std::string_view text) {
  if (text.empty()) return std::unexpected(bad("address", text, kForms));
  if (text.find('\0') != std::string_view::npos) {
    return std::unexpected(bad("address", text, "it contains a NUL byte"));
  }
  if (text.starts_with(kUnixPrefix)) return parse_unix(text);

  const bool bracketed = text.starts_with('[');
  std::string_view host;
  std::string_view rest;  // ":port"
  if (bracketed) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) {
      return std::unexpected(bad("address", text, "the closing bracket is missing"));
    }
    host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
  } else {
    const auto colon = text.find(':');
    if (colon != std::string_view::npos && text.find(':', colon + 1) != std::string_view::npos) {
      return std::unexpected(
          bad("address", text, "an IPv6 address needs brackets and a port, as in [::1]:80"));
    }
    host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
  }
  if (host.empty()) return std::unexpected(bad("address", text, kForms));
  if (host.size() > kMaxHost) {
    return std::unexpected(bad("address", text, "the host is longer than 255 bytes"));
  }
  if (!rest.starts_with(':')) {
    return std::unexpected(bad("address", text, "the port is missing, as in 127.0.0.1:80"));
  }
  const auto port = strict_number<std::uint16_t>(rest.substr(1));
  if (!port) {
    return std::unexpected(
        bad("address", text, "the port must be a decimal number from 0 to 65535"));
  }
  return bracketed ? parse_ipv6(host, *port, "address", text)
                   : parse_ipv4(host, *port, "address", text);
}

Result<SocketAddress> SocketAddress::from_ip(std::string_view host, std::uint16_t port) {
  const std::string_view text = host;
  if (host.find('\0') != std::string_view::npos) {
    return std::unexpected(bad("host", text, "it contains a NUL byte"));
  }
  const bool bracketed = host.size() >= 2 && host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  return bracketed || host.find(':') != std::string_view::npos
             ? parse_ipv6(host, port, "host", text)
             : parse_ipv4(host, port, "host", text);
}

Result<SocketAddress> SocketAddress::from_unix_path(std::string_view path) {
  if (path.empty()) return std::unexpected(bad("Unix path", path, "it is empty"));
  if (path.find('\0') != std::string_view::npos) {
    return std::unexpected(bad("Unix path", path, "it contains a NUL byte"));
  }
  if (path.size() > kMaxUnixName) {
    return std::unexpected(bad("Unix path", path, "it is longer than 107 bytes"));
  }
  return make_unix(path, false);
}

Result<SocketAddress> SocketAddress::from_unix_abstract(std::string_view name) {
  if (name.empty()) return std::unexpected(bad("abstract Unix name", name, "it is empty"));
  if (name.size() > kMaxUnixName) {
    return std::unexpected(bad("abstract Unix name", name, "it is longer than 107 bytes"));
  }
  return make_unix(name, true);
}

// Every SocketAddress is made by this function, in one form: fields that are not part of the
// identity (sin_zero, flow information, the bytes behind a path) are zero, so that equal addresses
// have equal bytes.
SocketAddress SocketAddress::from_sockaddr(const sockaddr* address, socklen_t length) {
  SocketAddress result;
  if (address == nullptr || length < sizeof(sa_family_t)) return result;
  sockaddr_storage given{};
  std::memcpy(&given, address, std::min<std::size_t>(length, sizeof(given)));

  if (given.ss_family == AF_INET && length >= sizeof(sockaddr_in)) {
    auto ipv4 = read_as<sockaddr_in>(given);
    std::memset(ipv4.sin_zero, 0, sizeof(ipv4.sin_zero));
    std::memcpy(&result.storage_, &ipv4, sizeof(ipv4));
    result.length_ = sizeof(ipv4);
  } else if (given.ss_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    auto ipv6 = read_as<sockaddr_in6>(given);
    ipv6.sin6_flowinfo = 0;
    std::memcpy(&result.storage_, &ipv6, sizeof(ipv6));
    result.length_ = sizeof(ipv6);
  } else if (given.ss_family == AF_UNIX && length > kUnixHead) {
    // A path may come with or without its NUL, and the kernel allows a path of 108 bytes without
    // one. An abstract name has exactly the given length.
    std::array<char, sizeof(sockaddr_un::sun_path)> name{};
    const std::size_t given_size = std::min<std::size_t>(length - kUnixHead, name.size());
    std::memcpy(name.data(), reinterpret_cast<const char*>(&given) + kUnixHead, given_size);
    std::size_t size = given_size;
    if (name[0] != '\0') {
      const auto* end = std::find(name.begin(), name.begin() + given_size, '\0');
      size = static_cast<std::size_t>(end - name.begin());
    } else if (size == 1) {
      return result;  // an empty abstract name: the socket has no name
    }
    result.storage_.ss_family = AF_UNIX;
    std::memcpy(reinterpret_cast<char*>(&result.storage_) + kUnixHead, name.data(), size);
    const bool terminated = name[0] != '\0' && size < name.size();
    result.length_ = static_cast<socklen_t>(kUnixHead + size + (terminated ? 1 : 0));
  }
  return result;
}

SocketAddress SocketAddress::from_ip_bytes(std::span<const std::byte> ip, std::uint16_t port,
                                           std::uint32_t scope_id) {
  in_addr ipv4{};
  in6_addr ipv6{};
  if (ip.size() == sizeof(ipv4)) {
    std::memcpy(&ipv4, ip.data(), sizeof(ipv4));
    return make_ipv4(ipv4, port);
  }
  if (ip.size() != sizeof(ipv6)) return {};
  std::memcpy(&ipv6, ip.data(), sizeof(ipv6));
  return make_ipv6(ipv6, port, scope_id);
}

SocketAddress SocketAddress::loopback_ipv4(std::uint16_t port) {
  return make_ipv4(in_addr{host_to_network(std::uint32_t{INADDR_LOOPBACK})}, port);
}

SocketAddress SocketAddress::loopback_ipv6(std::uint16_t port) {
  return make_ipv6(in6addr_loopback, port, 0);
}

SocketAddress::Family SocketAddress::family() const {
  if (length_ == 0) return Family::unspecified;
  if (storage_.ss_family == AF_INET) return Family::ipv4;
  if (storage_.ss_family == AF_INET6) return Family::ipv6;
  return reinterpret_cast<const char*>(&storage_)[kUnixHead] == '\0' ? Family::unix_abstract
                                                                     : Family::unix_path;
}

bool SocketAddress::is_ip() const { return family() == Family::ipv4 || family() == Family::ipv6; }

bool SocketAddress::is_unix() const {
  return family() == Family::unix_path || family() == Family::unix_abstract;
}

bool SocketAddress::is_v4_mapped() const {
  if (family() != Family::ipv6) return false;
  constexpr std::array<std::uint8_t, 12> prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const auto ipv6 = read_as<sockaddr_in6>(storage_);
  return std::memcmp(ipv6.sin6_addr.s6_addr, prefix.data(), prefix.size()) == 0;
}

bool SocketAddress::is_multicast() const {
  switch (family()) {
    case Family::ipv4:
      return IN_MULTICAST(network_to_host(read_as<sockaddr_in>(storage_).sin_addr.s_addr));
    case Family::ipv6:
      return read_as<sockaddr_in6>(storage_).sin6_addr.s6_addr[0] == 0xff;
    default:
      return false;
  }
}

SocketAddress SocketAddress::without_v4_mapping() const {
  if (!is_v4_mapped()) return *this;
  const auto ipv6 = read_as<sockaddr_in6>(storage_);
  in_addr ip{};
  std::memcpy(&ip, ipv6.sin6_addr.s6_addr + 12, sizeof(ip));
  return make_ipv4(ip, port());
}

std::uint16_t SocketAddress::port() const {
  switch (family()) {
    case Family::ipv4:
      return network_to_host(read_as<sockaddr_in>(storage_).sin_port);
    case Family::ipv6:
      return network_to_host(read_as<sockaddr_in6>(storage_).sin6_port);
    default:
      return 0;
  }
}

SocketAddress SocketAddress::with_port(std::uint16_t port) const {
  switch (family()) {
    case Family::ipv4:
      return make_ipv4(read_as<sockaddr_in>(storage_).sin_addr, port);
    case Family::ipv6:
      return make_ipv6(read_as<sockaddr_in6>(storage_).sin6_addr, port, scope_id());
    default:
      return *this;
  }
}

std::uint32_t SocketAddress::scope_id() const {
  return family() == Family::ipv6 ? read_as<sockaddr_in6>(storage_).sin6_scope_id : 0;
}

std::span<const std::byte> SocketAddress::ip_bytes() const {
  const auto whole = std::as_bytes(std::span(&storage_, 1));
  switch (family()) {
    case Family::ipv4:
      return whole.subspan(offsetof(sockaddr_in, sin_addr), sizeof(in_addr));
    case Family::ipv6:
      return whole.subspan(offsetof(sockaddr_in6, sin6_addr), sizeof(in6_addr));
    default:
      return {};
  }
}

std::string SocketAddress::ip() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family() == Family::ipv4) {
    const auto ipv4 = read_as<sockaddr_in>(storage_);
    inet_ntop(AF_INET, &ipv4.sin_addr, text.data(), text.size());
  } else if (family() == Family::ipv6) {
    const auto ipv6 = read_as<sockaddr_in6>(storage_);
    inet_ntop(AF_INET6, &ipv6.sin6_addr, text.data(), text.size());
    if (ipv6.sin6_scope_id != 0)
      return fmt::format("{}%{}", text.data(), scope_to_text(ipv6.sin6_scope_id));
  }
  return text.data();
}

std::string SocketAddress::unix_name() const {
  if (!is_unix()) return {};
  const auto* name = reinterpret_cast<const char*>(&storage_) + kUnixHead;
  const std::size_t size = length_ - kUnixHead;
  if (*name == '\0') return std::string(name + 1, size - 1);
  return std::string(name, strnlen(name, size));
}

std::string SocketAddress::to_string() const {
  switch (family()) {
    case Family::ipv4:
      return fmt::format("{}:{}", ip(), port());
    case Family::ipv6:
      return fmt::format("[{}]:{}", ip(), port());
    case Family::unix_abstract:
      return fmt::format("unix:@{}", escape_bytes(unix_name()));
    case Family::unix_path: {
      const std::string name = unix_name();
      // "unix:@x" would be read as an abstract name.
      if (name.starts_with('@')) return fmt::format("unix:\\x40{}", escape_bytes(name.substr(1)));
      return fmt::format("unix:{}", escape_bytes(name));
    }
    case Family::unspecified:
      break;
  }
  return "unspecified";
}

std::size_t SocketAddress::hash() const {
  return static_cast<std::size_t>(
      keyed_hash(std::string_view(reinterpret_cast<const char*>(&storage_), length_)));
}

}  // namespace weir
