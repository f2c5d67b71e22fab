// Socket: owns a stream or datagram socket, always CLOEXEC and NONBLOCK. [one thread at a time]
//
// Setters return the result of setsockopt(2): an option that the kernel does not support is an
// error value.
#pragma once

#include <netinet/tcp.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

// Keep-alive, tcp(7): the first probe after `idle`, then one every `interval`. After `count`
// unanswered probes the connection fails.
struct KeepAlive {
  std::chrono::seconds idle{60};
  std::chrono::seconds interval{15};
  int count = 4;
};

// The process at the other end of a Unix socket at the time of connect(2): SO_PEERCRED, unix(7).
struct Credentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

class Socket {
 public:
  enum class How { read, write, both };

  Socket() = default;
  explicit Socket(Fd fd) : fd_(std::move(fd)) {}
  static SysResult<Socket> stream(SocketAddress::Family family);
  static SysResult<Socket> datagram(SocketAddress::Family family);
  // Takes over a connected stream socket from elsewhere (socketpair(2), inetd, another process).
  // Sets CLOEXEC and NONBLOCK (every duplicate shares NONBLOCK). A descriptor below 3 is replaced
  // by a duplicate above 2. The error states why the descriptor cannot be used.
  static Result<Socket> adopt(Fd fd);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  Fd take_fd() { return std::move(fd_); }
  void close() { fd_.reset(); }

  SysResult<void> bind(const SocketAddress& address);
  SysResult<void> listen(int backlog);
  SysResult<Socket> accept();
  // EINPROGRESS (also for EINTR): the attempt continues in the background, connect(2).
  SysResult<void> connect(const SocketAddress& address);
  SysResult<void> shutdown(How how);

  // One send(2) or recv(2). EAGAIN instead of waiting; fewer bytes than requested are normal; 0
  // received bytes are the peer's end of file. (TcpConnection handles all this.)
  SysResult<std::size_t> send(std::span<const std::byte> bytes);
  SysResult<std::size_t> receive(std::span<std::byte> into);

  SysResult<void> set_reuse_addr(bool on);
  SysResult<void> set_reuse_port(bool on);
  // IP_BIND_ADDRESS_NO_PORT, ip(7): after a bind() to port 0, connect() chooses the port.
  SysResult<void> set_bind_address_no_port(bool on);
  SysResult<void> set_nodelay(bool on);
  SysResult<void> set_keep_alive(const KeepAlive& settings);
  SysResult<void> set_keep_alive(bool on);
  SysResult<void> set_user_timeout(std::chrono::milliseconds timeout);
  SysResult<void> set_linger(std::chrono::seconds timeout);  // 0: close() sends RST
  SysResult<void> set_send_buffer(int bytes);
  SysResult<void> set_receive_buffer(int bytes);
  // TCP_NOTSENT_LOWAT, tcp(7): writable only while fewer than `bytes` bytes wait for their first
  // transmission.
  SysResult<void> set_notsent_lowat(int bytes);
  SysResult<int> send_buffer() const;  // as the kernel counts: twice the requested size
  SysResult<int> receive_buffer() const;
  SysResult<void> set_v6_only(bool on);
  SysResult<void> set_defer_accept(std::chrono::seconds timeout);
  SysResult<void> set_fast_open(int queue_length);

  // Reads and clears SO_ERROR, socket(7); 0 when there is no error.
  Errno error() const;
  // Unspecified when the kernel does not know the address (ENOTCONN after a reset).
  SocketAddress local_address() const;
  SocketAddress peer_address() const;
  SysResult<struct tcp_info> tcp_info() const;
  // Unix sockets only; ENOTCONN without a peer, EOPNOTSUPP for other families.
  SysResult<Credentials> peer_credentials() const;

 private:
  Fd fd_;
};

}  // namespace weir

namespace weir::internal {
// The same queries for a descriptor that another object owns.
SocketAddress local_address_of(int fd);
SocketAddress peer_address_of(int fd);
Errno socket_error_of(int fd);
SysResult<struct tcp_info> tcp_info_of(int fd);
SysResult<Credentials> peer_credentials_of(int fd);
}  // namespace weir::internal
