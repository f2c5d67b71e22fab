#include "weir/net/udp/internal/open_datagram.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <string_view>

#include "weir/base/log.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

std::unexpected<Error> failed(const std::string& doing, std::string_view step, Errno code) {
  return std::unexpected(Error(fmt::format("{}: {}", doing, step), code));
}

// Sets socket options one after the other, until the first that fails.
class Options {
 public:
  Options(int fd, const std::string& doing) : fd_(fd), doing_(doing) {}

  Options& set(bool wanted, int level, int name, std::string_view text, int value) {
    if (!wanted || refusal_) return *this;
    if (auto done = sys::set_option(fd_, level, name, value); !done) {
      refusal_ = failed(doing_, text, done.error());
    }
    return *this;
  }
  // For an option that the kernel may not support: an error is ignored.
  Options& try_set(bool wanted, int level, int name, int value) {
    if (wanted) static_cast<void>(sys::set_option(fd_, level, name, value));
    return *this;
  }
  Result<void> done() const {
    if (refusal_) return *refusal_;
    return {};
  }

 private:
  const int fd_;
  const std::string& doing_;
  std::optional<std::unexpected<Error>> refusal_;
};

// An IPv6 socket also sends to groups of IPv4, unless it is v6_only. So it gets both sets of
// options.
void set_multicast(Options& set, bool ipv4, bool ipv6, const UdpSocket::Options& options) {
  const int ttl = options.multicast_ttl;
  const auto interface = static_cast<int>(options.multicast_interface);
  if (ipv6) {
    set.set(ttl != 1, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", ttl)
        .set(!options.multicast_loop, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", 0)
        .set(interface != 0, IPPROTO_IPV6, IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF", interface);
  }
  if (ipv4) {
    set.set(ttl != 1, IPPROTO_IP, IP_MULTICAST_TTL, "IP_MULTICAST_TTL", ttl)
        .set(!options.multicast_loop, IPPROTO_IP, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", 0);
  }
}

// IP_MULTICAST_IF, which has a structure as its value, ip(7).
Result<void> set_interface(int fd, unsigned index, const std::string& doing) {
  ip_mreqn request{};
  request.imr_ifindex = static_cast<int>(index);
  auto done = sys::set_option(fd, IPPROTO_IP, IP_MULTICAST_IF, request);
  if (!done) return failed(doing, "IP_MULTICAST_IF", done.error());
  return {};
}

}  // namespace

Result<OpenDatagram> OpenDatagram::make(const SocketAddress& address,
                                        const UdpSocket::Options& options,
                                        const std::string& doing) {
  auto socket = Socket::datagram(address.family());
  if (!socket) return failed(doing, "socket", socket.error());
  OpenDatagram made;
  made.socket = std::move(*socket);
  made.family = address.data()->sa_family;

  const bool ip = address.is_ip();
  const bool ipv6 = made.family == AF_INET6;
  const bool ipv4 = ip && !(ipv6 && options.v6_only);
  Options set(made.socket.fd(), doing);
  set.set(options.reuse_addr && ip, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR", 1)
      .set(options.reuse_port && ip, SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT", 1)
      .set(ipv6, IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY", options.v6_only ? 1 : 0)
      .set(options.broadcast && ip, SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST", 1)
      .set(options.packet_info && ip && !ipv6, IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO", 1)
      .set(options.packet_info && ipv6, IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO", 1)
      .set(options.receive_buffer > 0, SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF", options.receive_buffer)
      .set(options.send_buffer > 0, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF", options.send_buffer)
      .try_set(options.coalesce && ip, IPPROTO_UDP, UDP_GRO, 1);
  set_multicast(set, ipv4, ipv6, options);
  if (auto done = set.done(); !done) return std::unexpected(std::move(done.error()));
  if (ipv4 && options.multicast_interface != 0) {
    auto done = set_interface(made.socket.fd(), options.multicast_interface, doing);
    if (!done) return std::unexpected(std::move(done.error()));
  }
  return made;
}

Result<void> OpenDatagram::bind(const SocketAddress& address, unsigned mode,
                                const std::string& doing) {
  if (address.family() != SocketAddress::Family::unix_path) {
    if (auto done = socket.bind(address); !done) return failed(doing, "bind", done.error());
    return {};
  }
  auto made = SocketFile::bind(socket, address, mode & 0777, SocketFile::Use::receiver, doing);
  if (!made) return std::unexpected(std::move(made.error()));
  file = std::move(*made);
  if (!SocketFile::stands(address, file.id())) {
    return failed(doing, "another program took the path at the same moment", Errno(EADDRINUSE));
  }
  return {};
}

SysResult<void> OpenDatagram::bind_to_any_name() {
  const sockaddr nameless{.sa_family = AF_UNIX, .sa_data = {}};
  return sys::bind(socket.fd(), &nameless, sizeof(sa_family_t));
}

}  // namespace weir::internal
