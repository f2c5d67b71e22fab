// Every system call and clock that weir uses. Internal: not installed, not for programs.
//
// There are two layers. SysTable (sys_table.h) has the calls as C declares them. weir calls the
// functions in `weir::internal::sys`, here and in process.h and thread.h: they go through the
// thread's table, retry after EINTR (never close, connect or epoll_wait), and return values instead
// of errno. A thread that weir starts inherits the table of the thread that started it.
#pragma once

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <expected>
#include <limits>
#include <span>

#include "weir/base/clock.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/sys/sys_table.h"

namespace weir::internal {

namespace sys {

// This thread's replacement; null means the kernel. Only exchange_table() writes it.
inline constinit thread_local SysTable* replaced_table = nullptr;

// The table of the kernel's own calls, and the table that this thread uses.
SysTable& kernel_table();
inline SysTable& table() { return replaced_table != nullptr ? *replaced_table : kernel_table(); }
// Replaces this thread's table (nullptr: the kernel's) and returns the previous one (nullptr: the
// kernel's). Every Fd of this thread then closes through the table, too.
SysTable* exchange_table(SysTable* replacement);

// Installs a table for a scope.
class ScopedTable {
 public:
  explicit ScopedTable(SysTable* replacement) : previous_(exchange_table(replacement)) {}
  ~ScopedTable() { exchange_table(previous_); }
  ScopedTable(const ScopedTable&) = delete;
  ScopedTable& operator=(const ScopedTable&) = delete;

 private:
  SysTable* previous_;
};

// Descriptors are returned CLOEXEC and, for sockets, eventfd and signalfd, NONBLOCK. None is below
// 3: if a program was started without standard input, output or error, text that is written there
// must not go into a socket. EMFILE also if the duplicate that this needs exceeds the limit.
SysResult<Fd> socket(int domain, int type, int protocol);
SysResult<void> bind(int fd, const sockaddr* address, socklen_t length);
SysResult<void> listen(int fd, int backlog);
SysResult<Fd> accept(int fd);                                                // no address copied
SysResult<void> connect(int fd, const sockaddr* address, socklen_t length);  // EINTR = EINPROGRESS
SysResult<void> shutdown(int fd, int how);
SysResult<void> getsockopt(int fd, int level, int name, void* value, socklen_t* length);
SysResult<void> setsockopt(int fd, int level, int name, const void* value, socklen_t length);
template <typename T>
SysResult<void> set_option(int fd, int level, int name, const T& value) {
  return sys::setsockopt(fd, level, name, &value, sizeof(value));
}
SysResult<socklen_t> getsockname(int fd, sockaddr_storage& address);
SysResult<socklen_t> getpeername(int fd, sockaddr_storage& address);

// recv(2); 0 bytes = the peer's end of file.
inline SysResult<std::size_t> recv(int fd, std::span<std::byte> into);
SysResult<std::size_t> recv_vectors(int fd, std::span<iovec> into);
// Always MSG_NOSIGNAL. May send less than requested. Limited to the maximum of one call
// (kMaxVectors, kMaxTransfer). send_vectors may shorten a vector during the call and restores it.
inline SysResult<std::size_t> send(int fd, std::span<const std::byte> bytes);
SysResult<std::size_t> send_vectors(int fd, std::span<iovec> vectors);
// Plain messages with ancillary data: sendmsg(2) with MSG_NOSIGNAL, and recvmsg(2) with
// MSG_CMSG_CLOEXEC.
SysResult<std::size_t> send_message(int fd, const msghdr& message);
SysResult<std::size_t> recv_message(int fd, msghdr& message);
// recvmmsg(2) and sendmmsg(2), of at most kMaxVectors messages. Return the number of messages
// transferred, at least 1, or the error of the first message. (The error of a later message is
// returned by the next call, which begins with it.)
SysResult<std::size_t> recv_batch(int fd, std::span<mmsghdr> messages);
SysResult<std::size_t> send_batch(int fd, std::span<mmsghdr> messages);
// Removes one report, if there is any, from the error queue (MSG_ERRQUEUE, recv(2)).
SysResult<void> drop_queued_error(int fd);
// Raises no SIGPIPE. 0 bytes for a length above 0: the file ends at or before `offset`.
SysResult<std::size_t> sendfile(int out, int in, std::uint64_t offset, std::uint64_t length);
SysResult<std::size_t> pread(int fd, std::span<std::byte> into, std::uint64_t offset);

// Two connected Unix stream sockets.
struct SocketPair {
  Fd first;
  Fd second;
};
SysResult<SocketPair> socket_pair();

// Both ends are CLOEXEC and NONBLOCK.
struct Pipe {
  Fd reading;
  Fd writing;
};
SysResult<Pipe> pipe();
// F_SETPIPE_SZ: sets the size to at least `bytes` and returns the new size. EPERM: the limit of
// this user is lower.
SysResult<std::size_t> set_pipe_size(int pipe, std::size_t bytes);
SysResult<std::size_t> pipe_size(int pipe);
// SIOCINQ, tcp(7), unix(7): bytes that were received but not read.
SysResult<std::size_t> unread(int socket);
// SIOCOUTQ, tcp(7): bytes that the peer has not acknowledged; an unacknowledged FIN counts as one.
SysResult<std::size_t> unacknowledged(int socket);
// Do not wait for the pipe and raise no SIGPIPE. 0 bytes from a socket: the peer's end of file.
SysResult<std::size_t> splice_from_socket(int socket, int pipe, std::size_t size);
SysResult<std::size_t> splice_to_socket(int pipe, int socket, std::size_t size);

SysResult<std::size_t> read(int fd, std::span<std::byte> into);
SysResult<std::size_t> write(int fd, std::span<const std::byte> bytes);

SysResult<Fd> epoll_create();
SysResult<void> epoll_ctl(int epoll, int operation, int fd, std::uint32_t events,
                          std::uint64_t data);
// Waits up to `timeout`; negative: without limit. Without epoll_pwait2 (before Linux 5.11) the
// timeout is rounded up to milliseconds and limited to kMaxMilliseconds. EINTR is returned as an
// error, so that the caller recomputes its timeout.
SysResult<std::size_t> epoll_wait(int epoll, std::span<epoll_event> events, Duration timeout);
SysResult<Fd> eventfd();
SysResult<Fd> signalfd(const sigset_t& mask);
// Installs `handler` with SA_RESTART and SA_ONSTACK. Returns the previous action, for
// restore_signal().
SysResult<struct sigaction> handle_signal(int signal, void (*handler)(int));
SysResult<void> restore_signal(int signal, const struct sigaction& before);

SysResult<Fd> open(const char* path, int flags, mode_t mode = 0);
SysResult<Fd> openat(int folder, const char* name, int flags);
SysResult<struct stat> stat(const char* path);
SysResult<struct stat> fstat(int fd);
SysResult<struct stat> fstatat(int folder, const char* name);  // of a symbolic link: itself
SysResult<void> unlinkat(int folder, const char* name);
SysResult<void> chmod(const char* path, mode_t mode);
SysResult<void> fchmod(int fd, mode_t mode);
SysResult<Fd> duplicate(int fd);       // CLOEXEC
SysResult<Fd> take_over(int fd);       // a foreign descriptor, CLOEXEC; closed on an error
SysResult<void> make_our_own(int fd);  // sets CLOEXEC and NONBLOCK on a foreign descriptor
// True if FD_CLOEXEC is set. EBADF: `fd` is not open.
SysResult<bool> closes_on_exec(int fd);

// A child of fork(2) has another number than its parent. A process does not touch resources of
// another process: files of listening sockets, epoll sets, connections.
inline constinit std::atomic<std::uint32_t> forks{0};
inline std::uint32_t process_generation() { return forks.load(std::memory_order_relaxed); }

// CLOCK_MONOTONIC.
inline TimePoint now();

// The maximum of one call: Linux moves at most 2 GiB minus a page, and IOV_MAX vectors.
inline constexpr std::size_t kMaxTransfer = 0x7ffff000;
inline constexpr std::size_t kMaxVectors = 1024;
inline constexpr int kMaxMilliseconds = std::numeric_limits<int>::max();  // 24.8 days

// The calls that every message makes. They are inline, so that they cost one test and the call
// itself.

inline SysResult<std::size_t> recv(int fd, std::span<std::byte> into) {
  for (;;) {
    const ssize_t got = replaced_table == nullptr
                            ? ::recv(fd, into.data(), into.size(), 0)
                            : replaced_table->recv(fd, into.data(), into.size(), 0);
    if (got >= 0) [[likely]]
      return static_cast<std::size_t>(got);
    if (errno != EINTR) return std::unexpected(Errno(errno));
  }
}

inline SysResult<std::size_t> send(int fd, std::span<const std::byte> bytes) {
  const std::size_t size = std::min(bytes.size(), kMaxTransfer);
  for (;;) {
    const ssize_t sent = replaced_table == nullptr
                             ? ::send(fd, bytes.data(), size, MSG_NOSIGNAL)
                             : replaced_table->send(fd, bytes.data(), size, MSG_NOSIGNAL);
    if (sent >= 0) [[likely]]
      return static_cast<std::size_t>(sent);
    if (errno != EINTR) return std::unexpected(Errno(errno));
  }
}

inline TimePoint now() {
  timespec time{};
  if (replaced_table == nullptr) {
    ::clock_gettime(CLOCK_MONOTONIC, &time);
  } else {
    replaced_table->clock_gettime(CLOCK_MONOTONIC, &time);
  }
  return TimePoint(std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec));
}

}  // namespace sys
}  // namespace weir::internal
