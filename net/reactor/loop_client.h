// The interfaces through which a loop calls the objects that live on it. [loop]
#pragma once

#include <cstdint>

#include "weir/base/intrusive_list.h"
#include "weir/base/result.h"

namespace weir {

// Receives the readiness of one Channel. Called on the loop's thread only.
class IoHandler {
 public:
  // `events` are epoll_wait(2)'s bits (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP). EPOLLERR
  // and EPOLLHUP come whether asked for or not; a handler that cannot use an event must change its
  // interest, or a level-triggered channel is reported again at once. The Channel, and any other,
  // may be removed or destroyed from inside. An exception leaves EventLoop::run().
  virtual void on_ready(std::uint32_t events) = 0;

  // The kernel refused the interest that was set (EPERM for a regular file, ENOSPC, ENOMEM, ...).
  // The channel is not watched until its interest is set again. Never called from inside a set
  // call.
  virtual void on_interest_refused(Errno error) = 0;

 protected:
  ~IoHandler() = default;
};

namespace internal {

struct IdleWheelTag;

// What a connection is to its loop: besides readiness, a coarse deadline in the loop's IdleWheel, a
// place in the turn's flush phase and one in its reap phase.
class LoopClient : public IoHandler, public ListHook<IdleWheelTag> {
 public:
  // The deadline set with IdleWheel::schedule() has come; the client is out of the wheel.
  virtual void on_deadline() = 0;
  // Phase 6 of the turn in which flush_later() was called.
  virtual void on_flush() = 0;
  // Phase 7 of the turn in which reap_later() was called: the client frees itself.
  virtual void on_reap() = 0;

 protected:
  ~LoopClient() = default;
};

}  // namespace internal
}  // namespace weir
