// Fd owns a file descriptor. Movable between threads; not safe for use by two at once.
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <utility>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  int release() { return std::exchange(fd_, -1); }
  // Closes what is held, once: close(2) releases the number even when it reports EINTR or EIO.
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Every connection is a descriptor, and the usual soft limit is only 1024: raises it to the hard
// one (RLIMIT_NOFILE, getrlimit(2)) and returns how many this process may have. For main(), before
// a server is made; not for libraries, since select(2) cannot deal with numbers above 1023.
std::size_t raise_descriptor_limit();

}  // namespace weir

namespace weir::internal {
// The function through which every Fd of this thread closes; replaced together with the system-call
// table in tests. Takes a descriptor, returns close(2)'s result.
using CloseFunction = int (*)(int);
CloseFunction exchange_close_function(CloseFunction function);
}  // namespace weir::internal
