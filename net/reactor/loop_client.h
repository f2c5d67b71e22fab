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

// The link of a FlushList.
class FlushHook {
 private:
  friend class FlushList;
  FlushHook* next_ = nullptr;  // of the last one itself; null: in no list
};

// What a connection is to its loop: besides readiness, a coarse deadline in the loop's IdleWheel, a
// place in the turn's flush phase and one in its reap phase. All three are links inside the client,
// so that taking a place needs no memory, and a client has at most one of each.
class LoopClient : public IoHandler, public ListHook<IdleWheelTag>, public FlushHook {
 public:
  // The deadline set with IdleWheel::schedule() has come; the client is out of the wheel.
  virtual void on_deadline() = 0;
  // Phase 6 of the turn in which flush_later() was called.
  virtual void on_flush() = 0;
  // Phase 7, after reap_later() was called: the client frees itself. It has no deadline any more:
  // the reap list uses the link of the wheel.
  virtual void on_reap() = 0;

 protected:
  ~LoopClient() = default;
};

// Clients in the order in which they asked for the flush phase. Owns nothing.
class FlushList {
 public:
  FlushList() = default;
  FlushList(const FlushList&) = delete;
  FlushList& operator=(const FlushList&) = delete;

  bool empty() const { return first_ == nullptr; }
  // Does nothing for one that is in a list already.
  void push(LoopClient& client) {
    FlushHook& hook = client;
    if (hook.next_ != nullptr) return;
    hook.next_ = &hook;
    (first_ == nullptr ? first_ : last_->next_) = &hook;
    last_ = &hook;
  }
  // Null when empty.
  LoopClient* pop() {
    FlushHook* const hook = first_;
    if (hook == nullptr) return nullptr;
    first_ = hook == last_ ? nullptr : hook->next_;
    hook->next_ = nullptr;
    return static_cast<LoopClient*>(hook);
  }
  // Moves all of `other` behind this list's.
  void splice(FlushList& other) {
    if (other.empty()) return;
    (first_ == nullptr ? first_ : last_->next_) = other.first_;
    last_ = other.last_;
    other.first_ = nullptr;
  }

 private:
  FlushHook* first_ = nullptr;
  FlushHook* last_ = nullptr;  // while there is a first one
};

}  // namespace internal
}  // namespace weir
