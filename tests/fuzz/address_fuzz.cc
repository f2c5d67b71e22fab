// Text and socket addresses of any kind: what is accepted keeps its meaning through to_string() and
// back, and IP addresses are those that inet_pton(3) knows.
#include <arpa/inet.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "fuzz/target.h"
#include "weir/base/check_format.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/sys/sys.h"

namespace weir::fuzz {
namespace {

// A machine whose interfaces have simple names, and names that look like something else.
class Interfaces final : public internal::SysTable {
 public:
  unsigned if_nametoindex(const char* name) override {
    for (unsigned i = 0; i < kNames.size(); ++i) {
      if (std::strcmp(name, kNames[i]) == 0) return i + 1;
    }
    errno = ENODEV;
    return 0;
  }
  char* if_indextoname(unsigned index, char* name) override {
    if (index == 0 || index > kNames.size()) {
      errno = ENXIO;
      return nullptr;
    }
    return std::strcpy(name, kNames[index - 1]);
  }

 private:
  static constexpr std::array<const char*, 6> kNames = {"lo", "eth0.5@a", "7", "a]b", "1]:2", "%"};
};

// The round trips that hold for every address.
void check_address(const SocketAddress& address) {
  const std::string text = address.to_string();
  for (const char c : text) WEIR_CHECK(c >= ' ' && c <= '~', "not for a terminal: {}", text);
  const auto same = SocketAddress::from_sockaddr(address.data(), address.size());
  WEIR_CHECK(same == address && same.hash() == address.hash(), "{} is another sockaddr", text);
  WEIR_CHECK(address.is_ip() + address.is_unix() == (address.size() != 0), "the family of {}",
             text);
  if (address.size() == 0) return;
  // The kernel allows a path of 108 bytes, but only without its NUL, so it cannot be made of text.
  if (address.unix_name().size() == sizeof(sockaddr_un::sun_path)) return;
  const auto parsed = SocketAddress::parse(text);
  WEIR_CHECK(parsed, "{} is not read: {}", text, parsed.error().message());
  WEIR_CHECK(*parsed == address && parsed->hash() == address.hash(), "{} is read as {}", text,
             parsed->to_string());
  WEIR_CHECK(parsed->to_string() == text, "{} is written as {}", text, parsed->to_string());
  const auto moved = address.with_port(7);
  WEIR_CHECK(moved.with_port(address.port()) == address, "with_port of {}", text);
  if (!address.is_ip()) return;
  const auto made =
      SocketAddress::from_ip_bytes(address.ip_bytes(), address.port(), address.scope_id());
  WEIR_CHECK(made == address, "the bytes of {} are {}", text, made.to_string());
  const auto named = SocketAddress::from_ip(address.ip(), address.port());
  WEIR_CHECK(named && *named == address, "the host of {}", text);
  const auto plain = address.without_v4_mapping();
  WEIR_CHECK(!plain.is_v4_mapped() && plain.without_v4_mapping() == plain, "mapped: {}", text);
}

// An IP address without a scope is accepted exactly if inet_pton(3) accepts it.
void check_host(const std::string& host) {
  const auto parsed = SocketAddress::from_ip(host, 1);
  if (host.find_first_of(std::string_view("%[]\0", 4)) != host.npos) return;
  std::array<std::byte, 16> ip{};
  const int family = host.find(':') == host.npos ? AF_INET : AF_INET6;
  const bool known = ::inet_pton(family, host.c_str(), ip.data()) == 1;
  WEIR_CHECK(parsed.has_value() == known, "the host {} is {}", host, known);
  if (!known) return;
  const auto bytes = parsed->ip_bytes();
  WEIR_CHECK(std::equal(bytes.begin(), bytes.end(), ip.begin()), "the host {} is {}", host,
             parsed->ip());
}

void fuzz_address(Bytes input) {
  Interfaces interfaces;
  const internal::sys::ScopedTable use(&interfaces);
  HeapMeter heap;
  Script script(input);
  const std::uint8_t kind = script.byte();
  const std::string text(script.rest());
  if (const auto parsed = SocketAddress::parse(text)) check_address(*parsed);
  check_host(text);
  if (const auto path = SocketAddress::from_unix_path(text)) {
    WEIR_CHECK(path->unix_name() == text, "another path");
    check_address(*path);
  }
  if (const auto name = SocketAddress::from_unix_abstract(text)) {
    WEIR_CHECK(name->unix_name() == text, "another name");
    check_address(*name);
  }
  // As the bytes of a sockaddr, of one of the families that are known, or of any.
  constexpr std::array<sa_family_t, 3> kFamilies = {AF_INET, AF_INET6, AF_UNIX};
  sockaddr_storage storage{};
  const std::size_t size = std::min(text.size(), sizeof(storage));
  std::memcpy(&storage, text.data(), size);
  if (kind < kFamilies.size()) storage.ss_family = kFamilies[kind];
  check_address(SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage),
                                             static_cast<socklen_t>(size)));
  heap.check(input.size());
}

const Target kTarget("address", fuzz_address);

}  // namespace
}  // namespace weir::fuzz
