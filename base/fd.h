// Fd owns a file descriptor and closes it. [one thread at a time]
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
  // Closes the descriptor held so far and takes `fd`. Never retries close(2), which releases the
  // number even when it reports EINTR or EIO. Keeps errno.
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Raises the soft limit of descriptors (RLIMIT_NOFILE, getrlimit(2)) to the hard limit and returns
// it. Each connection needs a descriptor, and the usual soft limit is only 1024. Call it in main()
// before a server is created. A library must not call it: select(2) cannot handle descriptors above
// 1023.
std::size_t raise_descriptor_limit();

}  // namespace weir

namespace weir::internal {
// Replaces the function with which every Fd of this thread closes, and returns the previous one.
// Tests replace it together with the system-call table. It takes a descriptor and returns the
// result of close(2). Null: close(2) itself.
using CloseFunction = int (*)(int);
CloseFunction exchange_close_function(CloseFunction function);
}  // namespace weir::internal
