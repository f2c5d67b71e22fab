#include "weir/net/udp/internal/open_datagram.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/stat.h>

#include <string_view>

#include "weir/base/log.h"
#include "weir/net/socket/sys.h"

namespace weir::internal {

namespace {

std::unexpected<Error> failed(const std::string& doing, std::string_view step, Errno code) {
  return std::unexpected(Error(fmt::format("{}: {}", doing, step), code));
}

// Options, one after the other, until the first that fails.
class Options {
 public:
  Options(int fd, const std::string& doing) : fd_(fd), doing_(doing) {}

  Options& set(bool wanted, int level, int name, std::string_view text, int value) {
    if (!wanted || refusal_) return *this;
    if (auto done = sys::setsockopt(fd_, level, name, &value, sizeof(value)); !done) {
      refusal_ = failed(doing_, text, done.error());
    }
    return *this;
  }
  // One that may be missing.
  Options& try_set(bool wanted, int level, int name, int value) {
    if (wanted) static_cast<void>(sys::setsockopt(fd_, level, name, &value, sizeof(value)));
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

void set_multicast(Options& set, bool ipv6, const UdpSocket::Options& options) {
  const int ttl = options.multicast_ttl;
  const auto interface = static_cast<int>(options.multicast_interface);
  if (ipv6) {
    set.set(ttl != 1, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", ttl)
        .set(!options.multicast_loop, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", 0)
        .set(interface != 0, IPPROTO_IPV6, IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF", interface);
  }
  // An IPv6 socket speaks IPv4, too.
  set.set(!ipv6 && ttl != 1, IPPROTO_IP, IP_MULTICAST_TTL, "IP_MULTICAST_TTL", ttl)
      .set(!ipv6 && !options.multicast_loop, IPPROTO_IP, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", 0);
}

// With IPv4 an interface takes a structure.
Result<void> set_interface(int fd, unsigned index, const std::string& doing) {
  ip_mreqn request{};
  request.imr_ifindex = static_cast<int>(index);
  auto done = sys::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof(request));
  if (!done) return failed(doing, "IP_MULTICAST_IF", done.error());
  return {};
}

// A path where no socket lives any more is in nobody's way. Only the file that was probed is
// removed; who must exclude that two programs start in the same instant takes a lock of their own.
void remove_stale(const SocketAddress& address) {
  const std::string path = address.unix_name();
  const auto before = sys::lstat(path.c_str());
  if (!before || !S_ISSOCK(before->st_mode)) return;
  auto probe = Socket::datagram(SocketAddress::Family::unix_path);
  if (!probe) return;
  // EPROTOTYPE: a stream socket lives there.
  const auto answer = probe->connect(address);
  if (answer || answer.error() != ECONNREFUSED) return;
  const auto after = sys::lstat(path.c_str());
  if (after && after->st_dev == before->st_dev && after->st_ino == before->st_ino) {
    static_cast<void>(sys::unlink(path.c_str()));
  }
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
  if (ip) set_multicast(set, ipv6, options);
  if (auto done = set.done(); !done) return std::unexpected(std::move(done.error()));
  if (ip && !ipv6 && options.multicast_interface != 0) {
    auto done = set_interface(made.socket.fd(), options.multicast_interface, doing);
    if (!done) return std::unexpected(std::move(done.error()));
  }
  return made;
}

Result<void> OpenDatagram::bind(const SocketAddress& address, unsigned mode,
                                const std::string& doing) {
  const bool file = address.family() == SocketAddress::Family::unix_path;
  if (file) {
    remove_stale(address);
    // Linux makes the file with the permissions of the socket itself, less the umask.
    static_cast<void>(sys::fchmod(socket.fd(), mode & 0777));
  }
  if (auto done = socket.bind(address); !done) return failed(doing, "bind", done.error());
  if (!file) return {};
  const std::string name = address.unix_name();
  const auto status = sys::lstat(name.c_str());
  if (!status) return failed(doing, "look at the new socket's file", status.error());
  path = name;
  device = status->st_dev;
  inode = status->st_ino;
  process = sys::process_generation();
  if ((status->st_mode & 0777) != (mode & 0777)) {
    if (auto done = sys::chmod(name.c_str(), mode & 0777); !done) {
      return failed(doing, "chmod", done.error());
    }
  }
  return {};
}

SysResult<void> OpenDatagram::bind_to_any_name() {
  const sockaddr nameless{.sa_family = AF_UNIX, .sa_data = {}};
  return sys::bind(socket.fd(), &nameless, sizeof(sa_family_t));
}

void OpenDatagram::forget_file() {
  if (path.empty() || process != sys::process_generation()) return;
  const auto now = sys::lstat(path.c_str());
  if (now && now->st_dev == device && now->st_ino == inode) {
    static_cast<void>(sys::unlink(path.c_str()));
  }
  path.clear();
}

}  // namespace weir::internal
