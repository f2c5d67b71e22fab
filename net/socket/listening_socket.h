// ListeningSocket: a bound, listening stream socket and, for a Unix path, the file it created.
// [one thread at a time, unless marked otherwise]
//
// Unix paths (unix(7)): open() connects to an existing socket file. If nobody listens, it removes
// the file; otherwise the error is EADDRINUSE. The file gets its permissions before listen(2).
// close() removes the file only if it is still the file that open() created (device and inode), no
// other process continues to listen there, and this process is not a fork of the one that created
// it. A relative path refers to the working directory at the time of open(), also for the removal
// after a later chdir(2).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/socket/socket_file.h"

namespace WEIR_EXPORT weir {

struct ListenOptions {
  int backlog = 4096;       // the kernel limits it to net.core.somaxconn; see listen(2)
  bool reuse_addr = true;   // lets a server restart while old connections are in TIME_WAIT
  bool reuse_port = false;  // several listeners on one port, each with its own queue
  bool v6_only = false;     // if false, "[::]" also accepts IPv4

  // Options of the accepted connections, for IP addresses only.
  bool nodelay = true;       // TCP_NODELAY
  bool keep_alive = false;   // SO_KEEPALIVE, with the times of KeepAlive{}
  Duration user_timeout{0};  // TCP_USER_TIMEOUT; zero: the kernel's default
  // SO_RCVBUF, SO_SNDBUF and TCP_NOTSENT_LOWAT in bytes; 0: the kernel's default. (The kernel
  // doubles the first two and then no longer adapts them to the path, socket(7).)
  int receive_buffer = 0;
  int send_buffer = 0;
  int notsent_lowat = 0;

  mode_t unix_mode = 0600;  // permissions of the file of a Unix path
};

// The values that another process needs to listen on the same socket.
struct ListenerShare {
  Fd fd;
  FileId file;        // of a Unix path
  bool lent = false;  // see ListeningSocket::set_lent()
};

class ListeningSocket {
 public:
  ListeningSocket() = default;
  // The error names the step that failed: "listen on 0.0.0.0:80: bind: Permission denied".
  static Result<ListeningSocket> open(const SocketAddress& address, const ListenOptions& options);
  // Takes over a stream socket that is already listening: inherited, or received from another
  // process. Sets CLOEXEC and NONBLOCK (every duplicate shares NONBLOCK). The file of a Unix path
  // is not removed by close().
  static Result<ListeningSocket> adopt(Fd fd);

  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&& other) noexcept;
  ~ListeningSocket();

  Socket& socket() { return socket_; }
  int fd() const { return socket_.fd(); }
  // The bound address, with the port that the kernel chose.
  const SocketAddress& address() const { return address_; }
  void close();

  // Sets the options of accepted connections, from nodelay to notsent_lowat. open() has done this.
  void prepare_accepted(const ListenOptions& options);

  // Another descriptor of the same socket and queue, for another process. [any]
  SysResult<Fd> duplicate() const;
  const FileId& file() const { return file_.id(); }
  // For an adopted socket: close() removes `file` if `*ours` is true at that time. Several sockets
  // may share `ours`.
  void own_file(const FileId& file, std::shared_ptr<std::atomic<bool>> ours);
  // Another process continues to listen: close() does not remove the file. [any]
  void leave_file();

  // The socket belongs to somebody else, such as a service manager, who continues to use it after
  // this process: the socket itself must not be changed, and connections that are queued at the end
  // are left to the next process.
  void set_lent() { lent_ = true; }
  bool lent() const { return lent_; }

  // First step of an orderly end: rejects new clients, while connections that are queued can still
  // be accepted, so that close() resets nobody. Unix: new clients are refused immediately. IP: the
  // kernel drops new SYNs (the client retransmits them) but completes the handshakes in progress,
  // which takes a round trip.
  void refuse_new();
  // For the caller of accept(2) that learns that the socket no longer listens: true for the first
  // call, unless refuse_new() was the reason. [any]
  bool end_is_news() { return !ending_.exchange(true, std::memory_order_relaxed); }

 private:
  Socket socket_;
  SocketAddress address_;
  internal::SocketFile file_;
  bool lent_ = false;
  std::atomic<bool> ending_{false};
};

// The kernel's limit of the backlog (net.core.somaxconn); 4096 when it cannot be read.
int max_backlog();

}  // namespace weir
