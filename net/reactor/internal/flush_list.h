// FlushList: the clients that wait for the flush phase, in order. Does not own them. [loop]
#pragma once

#include "weir/net/reactor/loop_client.h"

namespace weir::internal {

class FlushList {
 public:
  FlushList() = default;
  FlushList(const FlushList&) = delete;
  FlushList& operator=(const FlushList&) = delete;

  bool empty() const { return first_ == nullptr; }
  // Does nothing for a client that is already in a list.
  void push(FlushClient& client) {
    FlushHook& hook = client;
    if (hook.next_ != nullptr) return;
    hook.next_ = &hook;
    (first_ == nullptr ? first_ : last_->next_) = &hook;
    last_ = &hook;
  }
  // Null when empty.
  FlushClient* pop() {
    FlushHook* const hook = first_;
    if (hook == nullptr) return nullptr;
    first_ = hook == last_ ? nullptr : hook->next_;
    hook->next_ = nullptr;
    return static_cast<FlushClient*>(hook);
  }
  // Appends all clients of `other`, which is empty afterwards.
  void splice(FlushList& other) {
    if (other.empty()) return;
    (first_ == nullptr ? first_ : last_->next_) = other.first_;
    last_ = other.last_;
    other.first_ = nullptr;
  }

 private:
  FlushHook* first_ = nullptr;
  FlushHook* last_ = nullptr;  // valid while first_ is not null
};

}  // namespace weir::internal
