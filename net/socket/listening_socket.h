// ListeningSocket: a bound, listening stream socket and, for a Unix path, the file it made.
//
// Unix paths (unix(7)): a path where nobody listens any more is removed first, found out by
// connecting to it; a path in use is EADDRINUSE. The file has its permissions before listen(2).
// When the socket ends, the file is removed only if it is still the one it made (device and inode),
// no other process goes on listening there, and this process is not a fork of the one that made it.
// A relative path means the working directory at the time of open(); a later chdir(2) changes
// nothing about which file is removed.
// May be moved to another thread, and used by one at a time.
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
  int backlog = 4096;        // cut by the kernel to net.core.somaxconn; see listen(2)
  bool reuse_addr = true;    // lets a server restart while old connections are in TIME_WAIT
  bool reuse_port = false;   // several listeners on one port, each with a queue of its own
  bool v6_only = false;      // "[::]" also takes IPv4 unless this is set
  bool nodelay = true;       // TCP_NODELAY, inherited by what is accepted
  bool keep_alive = false;   // SO_KEEPALIVE with KeepAlive{}, likewise
  Duration user_timeout{0};  // TCP_USER_TIMEOUT, likewise; zero: the kernel's
  // SO_RCVBUF, SO_SNDBUF and TCP_NOTSENT_LOWAT of what is accepted on an IP address, in bytes; 0:
  // the kernel's. (socket(7): the kernel doubles the first two, and stops fitting them to the
  // path.)
  int receive_buffer = 0;
  int send_buffer = 0;
  int notsent_lowat = 0;
  mode_t unix_mode = 0600;  // permissions of a Unix path
};

// What another process needs to listen too.
struct ListenerShare {
  Fd fd;
  FileId file;  // of a Unix path
  bool lent = false;
};

class ListeningSocket {
 public:
  ListeningSocket() = default;
  // The error says which step failed: "listen on 0.0.0.0:80: bind: Permission denied".
  static Result<ListeningSocket> open(const SocketAddress& address, const ListenOptions& options);
  // Takes over a stream socket that listens already: inherited, or received from another process.
  // Sets CLOEXEC and NONBLOCK (which every duplicate shares). The file of a Unix path stays.
  static Result<ListeningSocket> adopt(Fd fd);

  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&& other) noexcept;
  ~ListeningSocket();

  Socket& socket() { return socket_; }
  int fd() const { return socket_.fd(); }
  // What was bound, with the port that the kernel chose.
  const SocketAddress& address() const { return address_; }
  void close();

  // Those of `options` that concern what is accepted, from nodelay to notsent_lowat. open() has
  // done it.
  void prepare_accepted(const ListenOptions& options);

  // One more descriptor of the same socket and queue, for another process. [any]
  SysResult<Fd> duplicate() const;
  const FileId& file() const { return file_.id(); }
  // Of an adopted socket: the file to remove in the end, if by then `ours` says that nobody else
  // listens. It may be shared by several.
  void own_file(const FileId& file, std::shared_ptr<std::atomic<bool>> ours);
  // Another process goes on listening: the file stays. [any]
  void leave_file() { file_.leave(); }

  // Somebody else holds it too and goes on after us, as a service manager does: nothing may be done
  // to the socket itself, and what is queued in the end is left to the next.
  void set_lent() { lent_ = true; }
  bool lent() const { return lent_; }

  // Before an orderly end: keeps out who has not begun to connect, while what is queued can still
  // be accepted, so that nobody is reset by close(). Unix: at once. IP: the kernel answers no new
  // SYN (the client sends another by itself) but completes the handshakes that are under way, which
  // takes a round trip.
  void refuse_new();
  // accept(2) says that this does not listen any more: true for the first to ask, unless it is
  // because of refuse_new(). [any]
  bool end_is_news() { return !ending_.exchange(true, std::memory_order_relaxed); }

 private:
  Socket socket_;
  SocketAddress address_;
  internal::SocketFile file_;
  bool lent_ = false;
  std::atomic<bool> ending_{false};
};

// The kernel's cap on a backlog (net.core.somaxconn); 4096 when it can't be read.
int max_backlog();

}  // namespace weir
