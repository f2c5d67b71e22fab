#include "weir/net/sys/sys.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <type_traits>

#include "weir/base/sigpipe_blocked.h"

namespace weir::internal {

namespace sys {
namespace {

static_assert(kMaxVectors <= IOV_MAX);
// Required for a result to be returned in registers.
static_assert(sizeof(SysResult<std::size_t>) == 16);
static_assert(std::is_trivially_copy_constructible_v<SysResult<std::size_t>> &&
              std::is_trivially_move_constructible_v<SysResult<std::size_t>> &&
              std::is_trivially_destructible_v<SysResult<std::size_t>>);

// Initialised at compile time and never destroyed, so that static objects can use it at any time.
union KernelTable {
  constexpr KernelTable() : table() {}
  constexpr ~KernelTable() {}
  SysTable table;
};
constinit KernelTable the_kernel_table;

// Set once the kernel (or a seccomp filter) rejects epoll_pwait2. Reset when the table is replaced.
constinit thread_local bool without_pwait2 = false;

// Installed before main(), so that every fork() is counted. A bare clone(2) is not.
[[maybe_unused]] const int kForksAreCounted =
    ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });

int close_through_table(int fd) { return table().close(fd); }

// Repeats the call while it fails with EINTR. A failed call returns -1 and sets errno.
template <typename Call>
auto retried(Call call) {
  auto answer = call();
  while (answer < 0 && errno == EINTR) answer = call();
  return answer;
}

SysResult<void> done(int answer) {
  if (answer < 0) return std::unexpected(Errno(errno));
  return {};
}

SysResult<std::size_t> count(ssize_t answer) {
  if (answer < 0) return std::unexpected(Errno(errno));
  return static_cast<std::size_t>(answer);
}

// Every new descriptor goes through here. One below 3 is replaced by a duplicate above.
SysResult<Fd> descriptor(int answer) {
  if (answer < 0) return std::unexpected(Errno(errno));
  if (answer > STDERR_FILENO) [[likely]]
    return Fd(answer);
  const Fd standard(answer);
  const int moved = table().fcntl(standard.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (moved < 0) return std::unexpected(Errno(errno));
  return Fd(moved);
}

template <typename Pair>
SysResult<Pair> descriptors(const std::array<int, 2>& ends) {
  auto first = descriptor(ends[0]);
  auto second = descriptor(ends[1]);
  if (!first) return std::unexpected(first.error());
  if (!second) return std::unexpected(second.error());
  return Pair{std::move(*first), std::move(*second)};
}

int milliseconds_rounded_up(Duration timeout) {
  if (timeout < Duration::zero()) return -1;
  const auto whole = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  return static_cast<int>(std::min<std::int64_t>(whole, kMaxMilliseconds));
}

}  // namespace

SysTable& kernel_table() { return the_kernel_table.table; }

SysTable* exchange_table(SysTable* replacement) {
  exchange_close_function(replacement != nullptr ? close_through_table : nullptr);
  without_pwait2 = false;
  return std::exchange(replaced_table, replacement);
}

SysResult<Fd> socket(int domain, int type, int protocol) {
  return descriptor(table().socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

SysResult<void> bind(int fd, const sockaddr* address, socklen_t length) {
  return done(retried([&] { return table().bind(fd, address, length); }));
}

SysResult<void> listen(int fd, int backlog) { return done(table().listen(fd, backlog)); }

SysResult<Fd> accept(int fd) {
  return descriptor(
      retried([&] { return table().accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); }));
}

SysResult<void> connect(int fd, const sockaddr* address, socklen_t length) {
  const int answer = table().connect(fd, address, length);
  // After a signal the attempt continues; a second connect() would only return EALREADY.
  if (answer < 0 && errno == EINTR) return std::unexpected(Errno(EINPROGRESS));
  return done(answer);
}

SysResult<void> shutdown(int fd, int how) { return done(table().shutdown(fd, how)); }

SysResult<void> getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return done(table().getsockopt(fd, level, name, value, length));
}

SysResult<void> setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return done(table().setsockopt(fd, level, name, value, length));
}

SysResult<socklen_t> getsockname(int fd, sockaddr_storage& address) {
  socklen_t length = sizeof(address);
  if (table().getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) < 0) {
    return std::unexpected(Errno(errno));
  }
  return std::min<socklen_t>(length, sizeof(address));
}

SysResult<socklen_t> getpeername(int fd, sockaddr_storage& address) {
  socklen_t length = sizeof(address);
  if (table().getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) < 0) {
    return std::unexpected(Errno(errno));
  }
  return std::min<socklen_t>(length, sizeof(address));
}

SysResult<std::size_t> recv_vectors(int fd, std::span<iovec> into) {
  msghdr message{};
  message.msg_iov = into.data();
  message.msg_iovlen = std::min(into.size(), kMaxVectors);
  return count(retried([&] { return table().recvmsg(fd, &message, 0); }));
}

SysResult<std::size_t> send_vectors(int fd, std::span<iovec> vectors) {
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = std::min(vectors.size(), kMaxVectors);

  // A sum above SSIZE_MAX would be EINVAL, so the vector that exceeds the limit is shortened for
  // the call.
  std::size_t room = kMaxTransfer;
  iovec* cut = nullptr;
  std::size_t whole = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
    if (vectors[i].iov_len > room) [[unlikely]] {
      cut = &vectors[i];
      whole = std::exchange(cut->iov_len, room);
      message.msg_iovlen = i + 1;
      break;
    }
    room -= vectors[i].iov_len;
  }

  const ssize_t sent = retried([&] { return table().sendmsg(fd, &message, MSG_NOSIGNAL); });
  if (cut != nullptr) [[unlikely]]
    cut->iov_len = whole;
  return count(sent);
}

SysResult<std::size_t> send_message(int fd, const msghdr& message) {
  return count(retried([&] { return table().sendmsg(fd, &message, MSG_NOSIGNAL); }));
}

SysResult<std::size_t> recv_message(int fd, msghdr& message) {
  return count(retried([&] { return table().recvmsg(fd, &message, MSG_CMSG_CLOEXEC); }));
}

SysResult<std::size_t> recv_batch(int fd, std::span<mmsghdr> messages) {
  const auto most = static_cast<unsigned>(std::min(messages.size(), kMaxVectors));
  return count(retried([&] { return table().recvmmsg(fd, messages.data(), most, 0); }));
}

SysResult<std::size_t> send_batch(int fd, std::span<mmsghdr> messages) {
  const auto most = static_cast<unsigned>(std::min(messages.size(), kMaxVectors));
  return count(retried([&] { return table().sendmmsg(fd, messages.data(), most, MSG_NOSIGNAL); }));
}

SysResult<void> drop_queued_error(int fd) {
  msghdr message{};
  const auto answer = retried([&] { return table().recvmsg(fd, &message, MSG_ERRQUEUE); });
  if (answer < 0) return std::unexpected(Errno(errno));
  return {};
}

SysResult<std::size_t> sendfile(int out, int in, std::uint64_t offset, std::uint64_t length) {
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    return std::unexpected(Errno(EOVERFLOW));
  }
  const std::size_t size = std::min<std::uint64_t>(length, kMaxTransfer);
  // sendfile(2) has no flag to suppress SIGPIPE. The signal can also come with a short count: the
  // first part was sent, and the peer's reset arrived before the second.
  SigpipeBlocked guard;
  const ssize_t sent = retried([&] {
    auto position = static_cast<off_t>(offset);
    return table().sendfile(out, in, &position, size);
  });
  if (sent < 0 ? errno == EPIPE : static_cast<std::size_t>(sent) < size) guard.swallow();
  return count(sent);
}

SysResult<SocketPair> socket_pair() {
  std::array<int, 2> ends{-1, -1};
  const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  if (table().socketpair(AF_UNIX, type, 0, ends.data()) != 0) return std::unexpected(Errno(errno));
  return descriptors<SocketPair>(ends);
}

SysResult<std::size_t> pread(int fd, std::span<std::byte> into, std::uint64_t offset) {
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    return std::unexpected(Errno(EOVERFLOW));
  }
  return count(retried(
      [&] { return table().pread(fd, into.data(), into.size(), static_cast<off_t>(offset)); }));
}

SysResult<Pipe> pipe() {
  std::array<int, 2> ends{-1, -1};
  if (table().pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0) return std::unexpected(Errno(errno));
  return descriptors<Pipe>(ends);
}

SysResult<std::size_t> set_pipe_size(int pipe, std::size_t bytes) {
  const auto size = static_cast<int>(std::min<std::size_t>(bytes, INT_MAX));
  return count(table().fcntl(pipe, F_SETPIPE_SZ, size));
}

SysResult<std::size_t> pipe_size(int pipe) { return count(table().fcntl(pipe, F_GETPIPE_SZ, 0)); }

namespace {

SysResult<std::size_t> bytes_queued(int socket, unsigned long request) {
  int bytes = 0;
  if (table().ioctl(socket, request, &bytes) < 0) return std::unexpected(Errno(errno));
  return static_cast<std::size_t>(std::max(bytes, 0));
}

}  // namespace

SysResult<std::size_t> unread(int socket) { return bytes_queued(socket, SIOCINQ); }

SysResult<std::size_t> unacknowledged(int socket) { return bytes_queued(socket, SIOCOUTQ); }

SysResult<std::size_t> splice_from_socket(int socket, int pipe, std::size_t size) {
  return count(retried([&] {
    return table().splice(socket, pipe, std::min(size, kMaxTransfer),
                          SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  }));
}

SysResult<std::size_t> splice_to_socket(int pipe, int socket, std::size_t size) {
  SigpipeBlocked guard;  // splice(2) has no flag to suppress SIGPIPE either
  const ssize_t sent = retried([&] {
    return table().splice(pipe, socket, std::min(size, kMaxTransfer),
                          SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  });
  if (sent < 0 ? errno == EPIPE : static_cast<std::size_t>(sent) < size) guard.swallow();
  return count(sent);
}

SysResult<std::size_t> read(int fd, std::span<std::byte> into) {
  return count(retried([&] { return table().read(fd, into.data(), into.size()); }));
}

SysResult<std::size_t> write(int fd, std::span<const std::byte> bytes) {
  return count(retried([&] { return table().write(fd, bytes.data(), bytes.size()); }));
}

SysResult<Fd> epoll_create() { return descriptor(table().epoll_create1(EPOLL_CLOEXEC)); }

SysResult<void> epoll_ctl(int epoll, int operation, int fd, std::uint32_t events,
                          std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return done(table().epoll_ctl(epoll, operation, fd, &event));
}

SysResult<std::size_t> epoll_wait(int epoll, std::span<epoll_event> events, Duration timeout) {
  const auto capacity = static_cast<int>(std::min<std::size_t>(events.size(), INT_MAX));
  if (!without_pwait2) [[likely]] {
    timespec time{};
    if (timeout > Duration::zero()) {
      const auto seconds = std::chrono::floor<std::chrono::seconds>(timeout);
      time.tv_sec = seconds.count();
      time.tv_nsec = (timeout - seconds).count();
    }
    const int ready = table().epoll_pwait2(epoll, events.data(), capacity,
                                           timeout < Duration::zero() ? nullptr : &time);
    // Seccomp filters older than the call fail it with EPERM, which the kernel itself never returns
    // here.
    if (ready >= 0 || (errno != ENOSYS && errno != EPERM)) [[likely]]
      return count(ready);
    without_pwait2 = true;
  }
  return count(
      table().epoll_wait(epoll, events.data(), capacity, milliseconds_rounded_up(timeout)));
}

SysResult<Fd> eventfd() { return descriptor(table().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

SysResult<Fd> signalfd(const sigset_t& mask) {
  return descriptor(table().signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
}

SysResult<struct sigaction> handle_signal(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  struct sigaction before {};
  if (table().sigaction(signal, &action, &before) < 0) return std::unexpected(Errno(errno));
  return before;
}

SysResult<void> restore_signal(int signal, const struct sigaction& before) {
  return done(table().sigaction(signal, &before, nullptr));
}

SysResult<Fd> open(const char* path, int flags, mode_t mode) {
  return descriptor(retried([&] { return table().open(path, flags | O_CLOEXEC, mode); }));
}

SysResult<Fd> openat(int folder, const char* name, int flags) {
  return descriptor(retried([&] { return table().openat(folder, name, flags | O_CLOEXEC); }));
}

SysResult<struct stat> stat(const char* path) {
  struct stat result {};
  if (table().stat(path, &result) < 0) return std::unexpected(Errno(errno));
  return result;
}

SysResult<struct stat> fstat(int fd) {
  struct stat result {};
  if (table().fstat(fd, &result) < 0) return std::unexpected(Errno(errno));
  return result;
}

SysResult<struct stat> fstatat(int folder, const char* name) {
  struct stat result {};
  if (table().fstatat(folder, name, &result, AT_SYMLINK_NOFOLLOW) < 0) {
    return std::unexpected(Errno(errno));
  }
  return result;
}

SysResult<void> unlinkat(int folder, const char* name) {
  return done(table().unlinkat(folder, name));
}

SysResult<void> chmod(const char* path, mode_t mode) { return done(table().chmod(path, mode)); }

SysResult<void> fchmod(int fd, mode_t mode) { return done(table().fchmod(fd, mode)); }

SysResult<Fd> duplicate(int fd) {
  return descriptor(table().fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

SysResult<Fd> take_over(int fd) { return descriptor(fd); }

SysResult<void> make_our_own(int fd) {
  const auto add = [fd](int get, int set, int flag) -> SysResult<void> {
    const int flags = table().fcntl(fd, get, 0);
    if (flags < 0 || (flags & flag) != 0) return done(flags);
    return done(table().fcntl(fd, set, flags | flag));
  };
  if (auto set = add(F_GETFD, F_SETFD, FD_CLOEXEC); !set) return set;
  return add(F_GETFL, F_SETFL, O_NONBLOCK);
}

SysResult<bool> closes_on_exec(int fd) {
  const int flags = table().fcntl(fd, F_GETFD, 0);
  if (flags < 0) return std::unexpected(Errno::last());
  return (flags & FD_CLOEXEC) != 0;
}

}  // namespace sys
}  // namespace weir::internal
