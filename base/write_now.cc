#include "weir/base/write_now.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "weir/base/sigpipe_blocked.h"

namespace weir::internal {

namespace {

// A pipe that is ready takes PIPE_BUF bytes without waiting, a terminal perhaps only one.
ssize_t write_if_ready(int fd, std::string_view bytes) {
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) <= 0) {
    errno = EAGAIN;
    return -1;
  }
  return ::write(fd, bytes.data(), ::isatty(fd) == 1 ? 1 : bytes.size());
}

// Opens the same pipe or terminal once more, which gives an O_NONBLOCK flag of its own. Where that
// fails (no /proc, the terminal of another user, no free descriptor), poll(2) is used instead: then
// a process that writes at the same moment can take the space, and the write can wait.
ssize_t write_through_own_description(int fd, std::string_view bytes) {
  std::array<char, 32> path{};
  static_cast<void>(std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", fd));
  const int own = ::open(path.data(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (own < 0) return write_if_ready(fd, bytes);
  const ssize_t written = ::write(own, bytes.data(), bytes.size());
  const int error = errno;
  ::close(own);
  errno = error;
  return written;
}

// RWF_NOWAIT is O_NONBLOCK for one call. Terminals, some files, and the pipes and sockets of older
// kernels do not support it. A file that supports it can still refuse when it has no free block.
ssize_t write_some(int fd, std::string_view bytes) {
  // pwritev2(2) only reads the bytes.
  const iovec vector{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  const ssize_t written = ::pwritev2(fd, &vector, 1, -1, RWF_NOWAIT);
  if (written >= 0) return written;
  const int error = errno;
  struct stat kind {};
  if (::fstat(fd, &kind) != 0) return -1;
  if (S_ISREG(kind.st_mode)) return ::write(fd, bytes.data(), bytes.size());
  errno = error;
  if (error != EOPNOTSUPP && error != ENOSYS && error != EINVAL && error != EPERM) return -1;
  if (S_ISSOCK(kind.st_mode)) return ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  return write_through_own_description(fd, bytes);
}

}  // namespace

std::size_t write_now(int fd, std::string_view bytes) noexcept {
  SigpipeBlocked guard;
  std::size_t taken = 0;
  while (taken < bytes.size()) {
    const auto piece = bytes.substr(taken, PIPE_BUF);
    const ssize_t written = write_some(fd, piece);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) guard.swallow();
    if (written <= 0) break;
    taken += static_cast<std::size_t>(written);
  }
  return taken;
}

}  // namespace weir::internal
