// Waker: ends another thread's epoll_wait through an eventfd. wake() is [any], the rest [loop].
#pragma once

#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace weir::internal {

class Waker {
 public:
  static Result<Waker> create();

  int fd() const { return fd_.get(); }
  // EAGAIN means that a wake-up is pending already: success.
  void wake() const;
  // Takes all pending wake-ups back.
  void drain() const;

 private:
  explicit Waker(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace weir::internal
