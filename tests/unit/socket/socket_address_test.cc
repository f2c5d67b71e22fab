#include "weir/net/socket/socket_address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "support/colliding_keys.h"
#include "weir/base/byte_order.h"

namespace weir {
namespace {

using Family = SocketAddress::Family;
using namespace std::string_literals;

SocketAddress parsed(std::string_view text) {
  auto address = SocketAddress::parse(text);
  EXPECT_TRUE(address) << text << ": " << (address ? "" : address.error().message());
  return address ? *address : SocketAddress();
}

// The message of a refused text; an error is a sentence that quotes what it complains of.
std::string refused(std::string_view text) {
  const auto address = SocketAddress::parse(text);
  if (address) {
    ADD_FAILURE() << "accepted as " << address->to_string();
    return {};
  }
  EXPECT_EQ(address.error().code(), EINVAL);
  EXPECT_TRUE(address.error().message().starts_with("bad ")) << address.error().message();
  return address.error().message();
}

bool has_ipv6_interface(const char* name) { return if_nametoindex(name) != 0; }

TEST(SocketAddress, ByDefaultIsUnspecified) {
  const SocketAddress address;
  EXPECT_EQ(address.family(), Family::unspecified);
  EXPECT_EQ(address.to_string(), "unspecified");
  EXPECT_EQ(address.size(), 0U);
  EXPECT_EQ(address.port(), 0);
  EXPECT_EQ(address.ip(), "");
  EXPECT_EQ(address.unix_name(), "");
  EXPECT_FALSE(address.is_ip());
  EXPECT_FALSE(address.is_unix());
  EXPECT_EQ(address.with_port(80), address);
  EXPECT_EQ(address, SocketAddress());
  refused("unspecified");
}

TEST(SocketAddress, F71_TextFormsRoundTrip) {
  struct Case {
    const char* text;
    Family family;
    int port;
  };
  const Case cases[] = {
      {"127.0.0.1:80", Family::ipv4, 80},
      {"0.0.0.0:0", Family::ipv4, 0},
      {"255.255.255.255:65535", Family::ipv4, 65535},
      {"[::1]:80", Family::ipv6, 80},
      {"[::]:0", Family::ipv6, 0},
      {"[2001:db8::8:800:200c:417a]:443", Family::ipv6, 443},
      {"[::ffff:192.0.2.1]:5353", Family::ipv6, 5353},
      {"[fe80::1%4000000000]:9", Family::ipv6, 9},
      {"unix:/run/weir.sock", Family::unix_path, 0},
      {"unix:relative", Family::unix_path, 0},
      {"unix:/with space:and]brackets[", Family::unix_path, 0},
      {"unix:\\x40at", Family::unix_path, 0},
      {"unix:/a\\\\b\\x0a", Family::unix_path, 0},
      {"unix:@abstract", Family::unix_abstract, 0},
      {"unix:@@", Family::unix_abstract, 0},
      {"unix:@\\x00\\x00", Family::unix_abstract, 0},
      {"unix:@a\\x00b\\xff\\\\", Family::unix_abstract, 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const SocketAddress address = parsed(c.text);
    EXPECT_EQ(address.family(), c.family);
    EXPECT_EQ(address.port(), c.port);
    EXPECT_EQ(address.to_string(), c.text);
    EXPECT_EQ(address.is_ip(), c.family == Family::ipv4 || c.family == Family::ipv6);
    EXPECT_EQ(address.is_unix(), !address.is_ip());
    EXPECT_EQ(SocketAddress::from_sockaddr(address.data(), address.size()), address);
  }
}

TEST(SocketAddress, F71_OtherSpellingsBecomeTheUsualOne) {
  EXPECT_EQ(parsed("[0:0:0:0:0:0:0:1]:80").to_string(), "[::1]:80");
  EXPECT_EQ(parsed("[2001:DB8::1]:80").to_string(), "[2001:db8::1]:80");
  EXPECT_EQ(parsed("unix:/caf\xc3\xa9").to_string(), "unix:/caf\\xc3\\xa9");
  EXPECT_EQ(parsed("unix:/caf\xc3\xa9").unix_name(), "/caf\xc3\xa9");
  EXPECT_EQ(parsed("unix:/\\x41\\x7A").to_string(), "unix:/Az");
}

TEST(SocketAddress, F71_TheKernelsBytesAreRight) {
  const SocketAddress ipv4 = parsed("192.0.2.7:8080");
  sockaddr_in in{};
  ASSERT_EQ(ipv4.size(), sizeof(in));
  std::memcpy(&in, ipv4.data(), sizeof(in));
  EXPECT_EQ(in.sin_family, AF_INET);
  EXPECT_EQ(ntohs(in.sin_port), 8080);
  EXPECT_EQ(ntohl(in.sin_addr.s_addr), 0xc0000207U);

  const SocketAddress ipv6 = parsed("[2001:db8::2%7]:8081");
  sockaddr_in6 in6{};
  ASSERT_EQ(ipv6.size(), sizeof(in6));
  std::memcpy(&in6, ipv6.data(), sizeof(in6));
  EXPECT_EQ(in6.sin6_family, AF_INET6);
  EXPECT_EQ(ntohs(in6.sin6_port), 8081);
  EXPECT_EQ(in6.sin6_scope_id, 7U);
  EXPECT_EQ(in6.sin6_addr.s6_addr[15], 2);

  const SocketAddress path = parsed("unix:/x");
  EXPECT_EQ(path.size(), offsetof(sockaddr_un, sun_path) + 3);
  const SocketAddress abstract = parsed("unix:@x\\x00");
  EXPECT_EQ(abstract.size(), offsetof(sockaddr_un, sun_path) + 3);
}

TEST(SocketAddress, F71_BadPortsAreRefused) {
  for (const char* port : {"",    "65536", "99999", "4294967376", "18446744073709551696",
                           "80x", "x80",   "-1",    "+80",        " 80",
                           "80 ", "0x50",  "080",   "00",         "8_0",
                           "1e3", "8.0",   "80\n",  "http",       "\xd9\xa1"}) {
    for (const char* host : {"127.0.0.1:", "[::1]:"}) {
      EXPECT_NE(refused(std::string(host) + port).find("from 0 to 65535"), std::string::npos)
          << host << port;
    }
  }
  for (const char* text : {"127.0.0.1", "[::1]", "[::1]80", "[::1]]:80"}) {
    EXPECT_NE(refused(text).find("the port is missing"), std::string::npos) << text;
  }
  EXPECT_EQ(refused("127.0.0.1:80x"),
            "bad address \"127.0.0.1:80x\": the port must be a decimal number from 0 to 65535");
}

TEST(SocketAddress, F71_BadHostsAreRefused) {
  for (const char* text : {"",
                           ":",
                           ":80",
                           "[]:80",
                           "[",
                           "[::1",
                           "]:80",
                           "::1:80",
                           "::1",
                           "1.2.3:80",
                           "1.2.3.4.5:80",
                           "256.0.0.1:80",
                           "1.2.3.-4:80",
                           "01.2.3.4:80",
                           "1.2.3.4 :80",
                           " 1.2.3.4:80",
                           "0x7f.1:80",
                           "2130706433:80",
                           "127.1:80",
                           "localhost:80",
                           "example.org:80",
                           "[127.0.0.1]:80",
                           "[localhost]:80",
                           "[:::]:80",
                           "[::1::]:80",
                           "[12345::]:80",
                           "[::1 ]:80",
                           "[[::1]]:80",
                           "[::1%]:80",
                           "[::1%no_such_if]:80",
                           "[::1%0]:80",
                           "[::1%4294967296]:80",
                           "[::1%-1]:80",
                           "[::1%01]:80",
                           "[::1%1x]:80",
                           "[::1%%1]:80",
                           "1.2.3.4%1:80",
                           "tcp://1.2.3.4:80",
                           "unix",
                           "Unix:/x",
                           "1.2.3.4:80:81"}) {
    EXPECT_NE(refused(text), "") << text;
  }
  EXPECT_NE(refused("::1:80").find("[::1]:80"), std::string::npos);
}

TEST(SocketAddress, F71_NulIsRefusedAndNeverCutsTheText) {
  for (const std::string& text :
       {"127.0.0.1\0:80"s, "127.0.0.1:80\0"s, "127.0.0.1:8\0000"s, "[::1\0]:80"s, "[::1]\0:80"s,
        "\0"s, "unix:/x\0y"s, "unix:@x\0y"s}) {
    EXPECT_NE(refused(text).find("NUL"), std::string::npos);
  }
  EXPECT_NE(refused("unix:/x\\x00y").find("NUL"), std::string::npos);
  EXPECT_FALSE(SocketAddress::from_ip("127.0.0.1\0"s, 1));
  EXPECT_FALSE(SocketAddress::from_unix_path("/x\0y"s));
}

TEST(SocketAddress, F71_LongHostsAreRefusedWhole) {
  for (const std::size_t size : {46U, 255U, 256U, 257U, 1000U, 100000U}) {
    // A parser that cut the host to its first bytes would accept these.
    std::string host = "127.0.0.1";
    host.append(size - host.size(), ' ');
    const std::string ipv4 = refused(host + ":80");
    const std::string ipv6 = refused("[::1" + std::string(size - 3, '0') + "]:80");
    EXPECT_LT(ipv4.size(), 400U);
    EXPECT_LT(ipv6.size(), 400U);
    EXPECT_FALSE(SocketAddress::from_ip(host, 80));
    EXPECT_FALSE(SocketAddress::from_ip("::1%" + std::string(size, '1'), 80));
  }
}

TEST(SocketAddress, F71_ErrorsQuoteTheTextEscapedAndShortened) {
  const std::string message = refused("\x1b[2J\n" + std::string(5000, 'x'));
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_NE(message.find("x1b[2J"), std::string::npos) << message;
  EXPECT_LT(message.size(), 400U);
}

TEST(SocketAddress, F71_ScopeIsKept) {
  if (!has_ipv6_interface("lo")) GTEST_SKIP() << "no interface is called lo";
  const unsigned lo = if_nametoindex("lo");
  const SocketAddress by_name = parsed("[::1%lo]:80");
  EXPECT_EQ(by_name.scope_id(), lo);
  EXPECT_EQ(by_name.to_string(), "[::1%lo]:80");
  EXPECT_EQ(by_name.ip(), "::1%lo");
  EXPECT_EQ(parsed("[::1%" + std::to_string(lo) + "]:80"), by_name);
  EXPECT_NE(parsed("[::1]:80"), by_name);
  EXPECT_EQ(by_name.with_port(81).to_string(), "[::1%lo]:81");
  EXPECT_EQ(*SocketAddress::from_ip("::1%lo", 80), by_name);
  EXPECT_EQ(*SocketAddress::from_ip("[::1%lo]", 80), by_name);
  EXPECT_EQ(parsed("127.0.0.1:1").scope_id(), 0U);
}

TEST(SocketAddress, F71_V4MappedDiffersFromPlainUntilUnmapped) {
  const SocketAddress mapped = parsed("[::ffff:192.0.2.1]:80");
  const SocketAddress plain = parsed("192.0.2.1:80");
  EXPECT_TRUE(mapped.is_v4_mapped());
  EXPECT_FALSE(plain.is_v4_mapped());
  EXPECT_NE(mapped, plain);
  EXPECT_EQ(mapped.without_v4_mapping(), plain);
  EXPECT_EQ(plain.without_v4_mapping(), plain);
  for (const char* text : {"[::192.0.2.1]:80", "[::fffe:192.0.2.1]:80", "[1::ffff:192.0.2.1]:80",
                           "[::ffff:0:192.0.2.1]:80", "unix:/::ffff:1.2.3.4"}) {
    const SocketAddress other = parsed(text);
    EXPECT_FALSE(other.is_v4_mapped()) << text;
    EXPECT_EQ(other.without_v4_mapping(), other) << text;
  }
}

TEST(SocketAddress, FromIpTakesHostsWithAndWithoutBrackets) {
  EXPECT_EQ(SocketAddress::from_ip("0.0.0.0", 7)->to_string(), "0.0.0.0:7");
  EXPECT_EQ(SocketAddress::from_ip("::", 7)->to_string(), "[::]:7");
  EXPECT_EQ(SocketAddress::from_ip("[::]", 7)->to_string(), "[::]:7");
  for (const char* host : {"", "[]", "[", "]", "[1.2.3.4]", "[::1", "::1]", "1.2.3.4:80",
                           "[::1]:80", "localhost", "1.2.3"}) {
    EXPECT_FALSE(SocketAddress::from_ip(host, 7)) << host;
  }
}

TEST(SocketAddress, Loopbacks) {
  EXPECT_EQ(SocketAddress::loopback_ipv4(80), parsed("127.0.0.1:80"));
  EXPECT_EQ(SocketAddress::loopback_ipv6(80), parsed("[::1]:80"));
  EXPECT_EQ(parsed("1.2.3.4:5").with_port(6), parsed("1.2.3.4:6"));
  EXPECT_EQ(parsed("unix:/x").with_port(6), parsed("unix:/x"));
}

TEST(SocketAddress, F70_UnixNamesHoldUpTo107Bytes) {
  for (const bool abstract : {false, true}) {
    const std::string prefix = abstract ? "unix:@" : "unix:";
    const std::string longest(107, 'a');
    const SocketAddress address = parsed(prefix + longest);
    EXPECT_EQ(address.unix_name(), longest);
    EXPECT_EQ(address.to_string(), prefix + longest);
    EXPECT_EQ(address.size(), sizeof(sockaddr_un));
    EXPECT_NE(refused(prefix + longest + "a").find("107"), std::string::npos);
    EXPECT_NE(refused(prefix).find("empty"), std::string::npos);
    // The limit counts bytes of the name, not of its escaped form.
    std::string escapes = prefix;
    for (int i = 0; i < 107; ++i) escapes += "\\x01";
    EXPECT_EQ(parsed(escapes).unix_name(), std::string(107, '\x01'));
    refused(escapes + "\\x01");
  }
}

TEST(SocketAddress, F71_HalfAnEscapeIsRefused) {
  for (const char* tail : {"\\", "\\x", "\\x1", "\\xg0", "\\x0g", "\\n", "\\X41", "\\x 1", "a\\"}) {
    for (const char* prefix : {"unix:/", "unix:@"}) {
      EXPECT_NE(refused(std::string(prefix) + tail).find("backslash"), std::string::npos) << tail;
    }
  }
}

TEST(SocketAddress, F70_EveryByteOfANameRoundTripsAndPrintsSafely) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const std::string& name : {std::string(1, static_cast<char>(byte)),
                                    "a" + std::string(1, static_cast<char>(byte)) + "41"}) {
      const auto abstract = SocketAddress::from_unix_abstract(name);
      ASSERT_TRUE(abstract);
      EXPECT_EQ(abstract->unix_name(), name);
      const std::string text = abstract->to_string();
      EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) << text;
      EXPECT_EQ(parsed(text), *abstract);
      if (byte == 0) continue;
      const auto path = SocketAddress::from_unix_path(name);
      ASSERT_TRUE(path);
      EXPECT_EQ(path->unix_name(), name);
      EXPECT_EQ(parsed(path->to_string()), *path) << path->to_string();
      EXPECT_NE(*path, *abstract);
    }
  }
}

TEST(SocketAddress, FromSockaddrRefusesWhatIsShortOrStrange) {
  EXPECT_EQ(SocketAddress::from_sockaddr(nullptr, 100).family(), Family::unspecified);
  for (const char* text : {"1.2.3.4:5", "[::1%9]:5"}) {
    const SocketAddress whole = parsed(text);
    for (socklen_t size = 0; size < whole.size(); ++size) {
      EXPECT_EQ(SocketAddress::from_sockaddr(whole.data(), size), SocketAddress()) << text << size;
    }
  }
  sockaddr_storage strange{};
  for (const int family : {AF_UNSPEC, AF_PACKET, AF_NETLINK, 999}) {
    strange.ss_family = static_cast<sa_family_t>(family);
    EXPECT_EQ(SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&strange), sizeof(strange)),
              SocketAddress());
  }
  // A Unix socket without a name.
  strange.ss_family = AF_UNIX;
  EXPECT_EQ(SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&strange), 2),
            SocketAddress());
}

TEST(SocketAddress, FromSockaddrTakesPathsWithAndWithoutNul) {
  sockaddr_un raw{};
  raw.sun_family = AF_UNIX;
  std::memset(raw.sun_path, 'p', sizeof(raw.sun_path));
  const auto* address = reinterpret_cast<const sockaddr*>(&raw);
  constexpr socklen_t head = offsetof(sockaddr_un, sun_path);
  EXPECT_EQ(SocketAddress::from_sockaddr(address, head + 3), parsed("unix:ppp"));
  raw.sun_path[3] = '\0';  // what follows is not part of the name
  EXPECT_EQ(SocketAddress::from_sockaddr(address, head + 4), parsed("unix:ppp"));
  EXPECT_EQ(SocketAddress::from_sockaddr(address, sizeof(raw)), parsed("unix:ppp"));
  raw.sun_path[3] = 'p';  // a path that fills the whole field, which only the kernel can give
  const SocketAddress full = SocketAddress::from_sockaddr(address, sizeof(raw));
  EXPECT_EQ(full.unix_name(), std::string(108, 'p'));
  EXPECT_EQ(full.size(), sizeof(raw));
}

TEST(SocketAddress, EqualityIgnoresWhatIsNoPartOfTheAddress) {
  sockaddr_in6 raw{};
  raw.sin6_family = AF_INET6;
  raw.sin6_port = htons(80);
  raw.sin6_addr = in6addr_loopback;
  raw.sin6_flowinfo = 0x12345;
  EXPECT_EQ(SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&raw), sizeof(raw)),
            parsed("[::1]:80"));
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(80);
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::memset(in.sin_zero, 0xff, sizeof(in.sin_zero));
  EXPECT_EQ(SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&in), sizeof(in)),
            parsed("127.0.0.1:80"));
}

TEST(SocketAddress, HashGoesWithEquality) {
  std::unordered_set<SocketAddress> set;
  const std::vector<const char*> texts = {"127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80",
                                          "[::1]:80",     "[::1%5]:80",   "[::ffff:127.0.0.1]:80",
                                          "unix:/x",      "unix:@/x",     "unix:@x\\x00"};
  for (int round = 0; round < 2; ++round) {
    for (const char* text : texts) set.insert(parsed(text));
    EXPECT_EQ(set.size(), texts.size());
  }
  EXPECT_TRUE(set.contains(parsed("[0::1]:80")));
  EXPECT_FALSE(set.contains(parsed("[::1]:82")));
}

// Any change to a good text is either refused or means an address that keeps its own round trip.
TEST(SocketAddress, F71_MutatedTextsAreRefusedOrRoundTrip) {
  const std::vector<std::string> seeds = {
      "127.0.0.1:80",  "[::1]:443",       "[fe80::1%2]:65535",        "[::ffff:1.2.3.4]:0",
      "unix:/tmp/a.b", "unix:@name\\x00", "[2001:db8:1:2:3:4:5:6]:9", "255.255.255.255:65535"};
  const std::string interesting = "0123456789abcdefx:.[]%@\\/- +\n\t\"unix"s + '\0' + "\xff\x80";
  std::mt19937 random(71);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int accepted = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string text = seeds[below(seeds.size())];
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
      const std::size_t at = text.empty() ? 0 : below(text.size());
      const char c = interesting[below(interesting.size())];
      switch (below(5)) {
        case 0:
          text.insert(at, 1, c);
          break;
        case 1:
          if (!text.empty()) text.erase(at, 1 + below(3));
          break;
        case 2:
          if (!text.empty()) text[at] = c;
          break;
        case 3:
          text += text.substr(at);
          break;
        default:
          text = text.substr(0, at) + seeds[below(seeds.size())].substr(below(4));
          break;
      }
    }
    const auto address = SocketAddress::parse(text);
    if (!address) {
      ASSERT_LT(address.error().message().size(), 500U);
      continue;
    }
    ++accepted;
    const std::string again = address->to_string();
    const auto back = SocketAddress::parse(again);
    ASSERT_TRUE(back) << again;
    ASSERT_EQ(*back, *address) << again;
    ASSERT_EQ(back->to_string(), again);
    ASSERT_EQ(back->hash(), address->hash());
    if (!address->is_ip()) continue;
    // An IP address was written with the very port it got, and the C library agrees on the host.
    ASSERT_TRUE(text.ends_with(":" + std::to_string(address->port()))) << text;
    const std::string host = text.substr(0, text.rfind(':'));
    if (address->family() == Family::ipv4) {
      in_addr ip{};
      ASSERT_EQ(inet_pton(AF_INET, host.c_str(), &ip), 1) << text;
    } else {
      ASSERT_TRUE(host.starts_with('[') && host.ends_with(']')) << text;
    }
  }
  EXPECT_GT(accepted, 5000);
}

TEST(SocketAddress, F71_RandomAddressesFromTheKernelRoundTrip) {
  std::mt19937 random(72);
  for (int round = 0; round < 20'000; ++round) {
    sockaddr_storage raw{};
    for (std::size_t i = 0; i < sizeof(raw); ++i) {
      reinterpret_cast<unsigned char*>(&raw)[i] = static_cast<unsigned char>(random());
    }
    constexpr sa_family_t families[] = {AF_INET, AF_INET6, AF_UNIX};
    raw.ss_family = families[random() % 3];
    const auto size = static_cast<socklen_t>(random() % (sizeof(raw) + 1));
    const auto address =
        SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&raw), size);
    if (address.family() == Family::unspecified || address.unix_name().size() > 107) continue;
    const auto back = SocketAddress::parse(address.to_string());
    ASSERT_TRUE(back) << address.to_string() << ": " << back.error().message();
    ASSERT_EQ(*back, address) << address.to_string();
  }
}

TEST(SocketAddress, F71_RandomBytesNeverBreakTheParser) {
  std::mt19937 random(73);
  for (int round = 0; round < 100'000; ++round) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random());
    if (random() % 2 == 0) text.insert(0, random() % 2 == 0 ? "unix:" : "[");
    const auto address = SocketAddress::parse(text);
    if (!address) continue;
    const auto back = SocketAddress::parse(address->to_string());
    ASSERT_TRUE(back) << address->to_string();
    ASSERT_EQ(*back, *address);
  }
}

TEST(SocketAddress, RawBytesGoInAndOut) {
  const std::array<std::uint8_t, 16> raw = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto bytes = std::as_bytes(std::span(raw));
  const auto ipv6 = SocketAddress::from_ip_bytes(bytes, 80, 1);
  EXPECT_EQ(ipv6, parsed("[fe80::102:304:506:708%1]:80"));
  EXPECT_TRUE(std::ranges::equal(ipv6.ip_bytes(), bytes));
  const auto ipv4 = SocketAddress::from_ip_bytes(bytes.subspan(8, 4), 80);
  EXPECT_EQ(ipv4, parsed("1.2.3.4:80"));
  EXPECT_TRUE(std::ranges::equal(ipv4.ip_bytes(), bytes.subspan(8, 4)));
  for (const std::size_t size : {0U, 3U, 5U, 15U}) {
    EXPECT_EQ(SocketAddress::from_ip_bytes(bytes.first(size), 80), SocketAddress());
  }
  EXPECT_TRUE(parsed("unix:@x").ip_bytes().empty());
  EXPECT_TRUE(SocketAddress().ip_bytes().empty());
  for (const auto& whole : {ipv6, ipv4, parsed("unix:/s"), parsed("unix:@x")}) {
    EXPECT_EQ(SocketAddress::from_sockaddr(whole.data(), whole.size()), whole);
  }
}

// Under std::hash all of these are one: pairs of a port and an interface id, which the peers of one
// /64 may choose as they like.
TEST(SocketAddress, F71_PeersOfOneNetworkCannotArrangeToMeetInATable) {
  std::unordered_set<SocketAddress> table;
  std::set<std::size_t> ordinary;
  for (unsigned port = 0; port <= 0xffff; ++port) {
    sockaddr_in6 peer{};
    peer.sin6_family = AF_INET6;
    peer.sin6_port = host_to_network(static_cast<std::uint16_t>(port));
    peer.sin6_addr.s6_addr[0] = 0x20;
    peer.sin6_addr.s6_addr[1] = 0x01;
    std::array<std::uint64_t, 2> words{};
    static_assert(sizeof(words) == offsetof(sockaddr_in6, sin6_addr) + 8);
    std::memcpy(words.data(), &peer, sizeof(words));
    const std::uint64_t interface_id = test::colliding_word(sizeof(peer), {words[0], words[1]});
    std::memcpy(&peer.sin6_addr.s6_addr[8], &interface_id, sizeof(interface_id));
    const auto address =
        SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&peer), sizeof(peer));
    ordinary.insert(std::hash<std::string_view>()(
        {reinterpret_cast<const char*>(address.data()), address.size()}));
    table.insert(address);
  }
  EXPECT_EQ(ordinary.size(), 1U) << "these addresses are not what they should be";
  EXPECT_EQ(table.size(), 65'536U);
  EXPECT_LE(test::fullest_bucket(table), test::kMostByChance);
}

}  // namespace
}  // namespace weir
