// Mailbox: how other threads reach a loop. Shared by the loop and by every ConnectionRef, so it
// outlives the loop and says then that the loop is gone. Internal to weir. [any] unless marked.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "weir/base/counter.h"
#include "weir/base/intrusive_list.h"
#include "weir/base/mutex.h"
#include "weir/net/reactor/internal/waker.h"
#include "weir/net/reactor/task.h"

namespace weir::internal {

class LoopCore;

// An address that is different in every thread alive: the cheapest identity there is.
inline const void* this_thread_token() {
  static constinit thread_local char token = 0;
  return &token;
}

class Mailbox;

// The identity of the loop that this thread is in the middle of: of its turn, its construction or
// its end. Null: of none. Set by CurrentLoop.
inline const Mailbox*& current_loop() {
  // Every message asks for it; this spares the call or the sum that finds it in a shared library.
  [[gnu::tls_model("initial-exec")]] static constinit thread_local const Mailbox* current = nullptr;
  return current;
}

// While it lives, this thread is the loop's, and no other loop's.
class CurrentLoop {
 public:
  explicit CurrentLoop(const Mailbox& loop) : before_(current_loop()) { current_loop() = &loop; }
  ~CurrentLoop() { current_loop() = before_; }
  CurrentLoop(const CurrentLoop&) = delete;
  CurrentLoop& operator=(const CurrentLoop&) = delete;

 private:
  const Mailbox* const before_;
};

struct AllMailboxesTag;

class Mailbox : public ListHook<AllMailboxesTag> {
 public:
  Mailbox(LoopCore& core, Waker waker);
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // False, with the task destroyed, when the loop is gone. One wake-up serves a burst.
  bool post(Task task);
  void wake() const { waker_.wake(); }

  // In the middle of a loop, this thread is that loop's only; else of all loops made on it.
  bool in_loop_thread() const {
    const Mailbox* const current = current_loop();
    return current == this || (current == nullptr && belongs_to_this_thread());
  }
  // The loop was made on this thread, so no other runs it.
  bool belongs_to_this_thread() const { return owner_ == this_thread_token(); }
  // [loop] nullptr when the loop is gone.
  LoopCore* core() const { return core_; }
  // Tells the loops of a process apart: part of connection ids.
  std::uint32_t loop_number() const { return loop_number_; }

  // [loop] The loop is about to wait / is back. Between the two a post wakes it.
  // True: something was posted already, so do not wait.
  bool prepare_to_wait();
  void woke_up() { waiting_.store(false, std::memory_order_relaxed); }
  bool has_posts() const { return signalled_.load(std::memory_order_acquire); }
  std::uint64_t posted() const { return posted_.value(); }  // tasks, ever
  // [loop] Swaps what was posted into `into`, which must be empty.
  void take(std::vector<Task>& into);
  // [loop] No post succeeds from now on. Tasks that have not begun are destroyed.
  void close();

  const Waker& waker() const { return waker_; }

  // Around fork(2): a child finds no mailbox in the middle of a post by a thread that it does not
  // have.
  static void lock_all();
  static void unlock_all();

 private:
  const void* const owner_ = this_thread_token();
  const std::uint32_t loop_number_;
  const Waker waker_;
  LoopCore* core_;  // loop thread only

  // The wake-up protocol: a poster publishes its task, then sets signalled_, then looks at
  // waiting_; the loop sets waiting_, then looks at signalled_. All four in one total order
  // (seq_cst), so one of the two sees the other. signalled_ is cleared before the tasks are taken.
  std::atomic<bool> signalled_{false};
  std::atomic<bool> waiting_{false};

  Mutex mutex_;
  std::vector<Task> tasks_ WEIR_GUARDED_BY(mutex_);
  bool closed_ WEIR_GUARDED_BY(mutex_) = false;
  Counter posted_;  // written under mutex_
};

}  // namespace weir::internal
