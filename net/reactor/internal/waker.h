// Waker: ends the epoll_wait of another thread through an eventfd. wake() is [any], the rest
// [loop].
#pragma once

#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace weir::internal {

class Waker {
 public:
  static Result<Waker> create();

  int fd() const { return fd_.get(); }
  // EAGAIN counts as success: a wake-up is already pending.
  void wake() const;
  // Clears all pending wake-ups.
  void drain() const;

 private:
  explicit Waker(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace weir::internal
