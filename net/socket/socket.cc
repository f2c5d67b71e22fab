#include "weir/net/socket/socket.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string_view>
#include <utility>

#include "weir/net/sys/sys.h"

namespace weir {
namespace {

namespace sys = internal::sys;

SysResult<Socket> make(SocketAddress::Family family, int type) {
  int domain = AF_UNSPEC;
  switch (family) {
    case SocketAddress::Family::ipv4:
      domain = AF_INET;
      break;
    case SocketAddress::Family::ipv6:
      domain = AF_INET6;
      break;
    case SocketAddress::Family::unix_path:
    case SocketAddress::Family::unix_abstract:
      domain = AF_UNIX;
      break;
    case SocketAddress::Family::unspecified:
      return std::unexpected(Errno(EAFNOSUPPORT));
  }
  auto fd = sys::socket(domain, type, 0);
  if (!fd) return std::unexpected(fd.error());
  return Socket(std::move(*fd));
}

SysResult<void> set_flag(int fd, int level, int name, bool on) {
  return sys::set_option(fd, level, name, on ? 1 : 0);
}

SysResult<int> get(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof(value);
  if (auto done = sys::getsockopt(fd, level, name, &value, &length); !done) {
    return std::unexpected(done.error());
  }
  return value;
}

// Limits a time to an int. A negative time stays negative, so that the kernel rejects it.
template <typename Time>
int whole(Time time) {
  return static_cast<int>(
      std::clamp<std::int64_t>(time.count(), -1, std::numeric_limits<int>::max()));
}

}  // namespace

SysResult<Socket> Socket::stream(SocketAddress::Family family) { return make(family, SOCK_STREAM); }
SysResult<Socket> Socket::datagram(SocketAddress::Family family) {
  return make(family, SOCK_DGRAM);
}

Result<Socket> Socket::adopt(Fd fd) {
  const auto refused = [number = fd.get()](std::string_view why, Errno code) {
    return std::unexpected(Error(fmt::format("take over descriptor {}: {}", number, why), code));
  };
  const auto type = get(fd.get(), SOL_SOCKET, SO_TYPE);
  if (!type) return refused("SO_TYPE", type.error());
  if (*type != SOCK_STREAM) return refused("it is not a stream socket", Errno(ESOCKTNOSUPPORT));
  sockaddr_storage peer{};
  if (const auto connected = sys::getpeername(fd.get(), peer); !connected) {
    return refused("getpeername", connected.error());
  }
  if (fd.get() <= STDERR_FILENO) {  // reserved for the standard streams
    auto above = sys::duplicate(fd.get());
    if (!above) return refused("duplicate", above.error());
    fd = std::move(*above);
  }
  if (auto done = sys::make_our_own(fd.get()); !done) return refused("fcntl", done.error());
  return Socket(std::move(fd));
}

SysResult<void> Socket::bind(const SocketAddress& address) {
  return sys::bind(fd(), address.data(), address.size());
}

SysResult<void> Socket::listen(int backlog) { return sys::listen(fd(), backlog); }

SysResult<Socket> Socket::accept() {
  auto accepted = sys::accept(fd());
  if (!accepted) return std::unexpected(accepted.error());
  return Socket(std::move(*accepted));
}

SysResult<void> Socket::connect(const SocketAddress& address) {
  return sys::connect(fd(), address.data(), address.size());
}

SysResult<void> Socket::shutdown(How how) {
  switch (how) {
    case How::read:
      return sys::shutdown(fd(), SHUT_RD);
    case How::write:
      return sys::shutdown(fd(), SHUT_WR);
    case How::both:
      break;
  }
  return sys::shutdown(fd(), SHUT_RDWR);
}

SysResult<std::size_t> Socket::send(std::span<const std::byte> bytes) {
  return sys::send(fd(), bytes);
}

SysResult<std::size_t> Socket::receive(std::span<std::byte> into) { return sys::recv(fd(), into); }

SysResult<void> Socket::set_reuse_addr(bool on) {
  return set_flag(fd(), SOL_SOCKET, SO_REUSEADDR, on);
}

SysResult<void> Socket::set_reuse_port(bool on) {
  return set_flag(fd(), SOL_SOCKET, SO_REUSEPORT, on);
}

SysResult<void> Socket::set_bind_address_no_port(bool on) {
  return set_flag(fd(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, on);
}

SysResult<void> Socket::set_nodelay(bool on) {
  return set_flag(fd(), IPPROTO_TCP, TCP_NODELAY, on);
}

SysResult<void> Socket::set_keep_alive(const KeepAlive& settings) {
  // The times come first, so that no probe is sent with the system's defaults.
  if (auto done = sys::set_option(fd(), IPPROTO_TCP, TCP_KEEPIDLE, whole(settings.idle)); !done)
    return done;
  if (auto done = sys::set_option(fd(), IPPROTO_TCP, TCP_KEEPINTVL, whole(settings.interval));
      !done) {
    return done;
  }
  if (auto done = sys::set_option(fd(), IPPROTO_TCP, TCP_KEEPCNT, settings.count); !done)
    return done;
  return set_keep_alive(true);
}

SysResult<void> Socket::set_keep_alive(bool on) {
  return set_flag(fd(), SOL_SOCKET, SO_KEEPALIVE, on);
}

SysResult<void> Socket::set_user_timeout(std::chrono::milliseconds timeout) {
  return sys::set_option(fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, whole(timeout));
}

SysResult<void> Socket::set_linger(std::chrono::seconds timeout) {
  // The kernel would take a negative time for an unlimited one.
  if (timeout < std::chrono::seconds::zero()) return std::unexpected(Errno(EINVAL));
  return sys::set_option(fd(), SOL_SOCKET, SO_LINGER,
                         linger{.l_onoff = 1, .l_linger = whole(timeout)});
}

SysResult<void> Socket::set_send_buffer(int bytes) {
  return sys::set_option(fd(), SOL_SOCKET, SO_SNDBUF, bytes);
}

SysResult<void> Socket::set_receive_buffer(int bytes) {
  return sys::set_option(fd(), SOL_SOCKET, SO_RCVBUF, bytes);
}

SysResult<void> Socket::set_notsent_lowat(int bytes) {
  return sys::set_option(fd(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes);
}

SysResult<int> Socket::send_buffer() const { return get(fd(), SOL_SOCKET, SO_SNDBUF); }

SysResult<int> Socket::receive_buffer() const { return get(fd(), SOL_SOCKET, SO_RCVBUF); }

SysResult<void> Socket::set_v6_only(bool on) {
  return set_flag(fd(), IPPROTO_IPV6, IPV6_V6ONLY, on);
}

SysResult<void> Socket::set_defer_accept(std::chrono::seconds timeout) {
  return sys::set_option(fd(), IPPROTO_TCP, TCP_DEFER_ACCEPT, whole(timeout));
}

SysResult<void> Socket::set_fast_open(int queue_length) {
  return sys::set_option(fd(), IPPROTO_TCP, TCP_FASTOPEN, queue_length);
}

Errno Socket::error() const { return internal::socket_error_of(fd()); }

SocketAddress Socket::local_address() const { return internal::local_address_of(fd()); }

SocketAddress Socket::peer_address() const { return internal::peer_address_of(fd()); }

SysResult<struct tcp_info> Socket::tcp_info() const { return internal::tcp_info_of(fd()); }

SysResult<Credentials> Socket::peer_credentials() const {
  return internal::peer_credentials_of(fd());
}

namespace internal {

SocketAddress local_address_of(int fd) {
  sockaddr_storage storage{};
  const auto length = sys::getsockname(fd, storage);
  if (!length) return {};
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), *length);
}

SocketAddress peer_address_of(int fd) {
  sockaddr_storage storage{};
  const auto length = sys::getpeername(fd, storage);
  if (!length) return {};
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), *length);
}

Errno socket_error_of(int fd) {
  const auto value = get(fd, SOL_SOCKET, SO_ERROR);
  return value ? Errno(*value) : value.error();
}

SysResult<struct tcp_info> tcp_info_of(int fd) {
  // An older kernel fills in fewer fields; the rest stays zero.
  struct tcp_info info {};
  socklen_t length = sizeof(info);
  if (auto done = sys::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length); !done) {
    return std::unexpected(done.error());
  }
  return info;
}

SysResult<Credentials> peer_credentials_of(int fd) {
  // The kernel accepts any socket and returns ids of -1 if there is no peer.
  ucred peer{};
  socklen_t length = sizeof(peer);
  const auto domain = get(fd, SOL_SOCKET, SO_DOMAIN);
  const auto asked = sys::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
  Errno error;
  if (!domain) {
    error = domain.error();
  } else if (*domain != AF_UNIX) {
    error = Errno(EOPNOTSUPP);
  } else if (!asked) {
    error = asked.error();
  } else if (peer.uid == static_cast<uid_t>(-1)) {
    error = Errno(ENOTCONN);
  }
  SysResult<Credentials> result(Credentials{.pid = peer.pid, .uid = peer.uid, .gid = peer.gid});
  if (!(error == 0)) result = std::unexpected(error);
  return result;
}

}  // namespace internal
}  // namespace weir
