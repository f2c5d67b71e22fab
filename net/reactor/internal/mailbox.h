// Mailbox: the queue through which other threads reach a loop. It is shared by the loop and by
// every ConnectionRef, so it outlives the loop and then reports that the loop is gone. Internal to
// weir. [any] unless marked.
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

// An address that differs between all live threads: the cheapest identity of a thread.
inline const void* this_thread_token() {
  static constinit thread_local char token = 0;
  return &token;
}

class Mailbox;

// The loop whose turn, constructor or destructor runs on this thread. Null: none. Set by
// CurrentLoop.
inline const Mailbox*& current_loop() {
  // Every message reads it. initial-exec avoids the call of __tls_get_addr in a shared library.
  [[gnu::tls_model("initial-exec")]] static constinit thread_local const Mailbox* current = nullptr;
  return current;
}

// As long as it lives, this thread counts as the thread of `loop` and of no other loop.
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

  // False when the loop is gone; the task is then destroyed. A burst of posts causes one wake-up.
  bool post(Task task);
  void wake() const { waker_.wake(); }

  // EventLoop::in_loop_thread().
  bool in_loop_thread() const {
    const Mailbox* const current = current_loop();
    return current == this || (current == nullptr && belongs_to_this_thread());
  }
  // True if the loop was created on this thread, so that no other thread runs it.
  bool belongs_to_this_thread() const { return owner_ == this_thread_token(); }
  // [loop] Null when the loop is gone.
  LoopCore* core() const { return core_; }
  // A number that is unique in the process: part of connection ids.
  std::uint32_t loop_number() const { return loop_number_; }

  // [loop] Call these before and after the loop waits. Between the two calls a post wakes it.
  // prepare_to_wait() returns true if a task was already posted: then do not wait.
  bool prepare_to_wait();
  void woke_up() { waiting_.store(false, std::memory_order_relaxed); }
  bool has_posts() const { return signalled_.load(std::memory_order_acquire); }
  std::uint64_t posted() const { return posted_.value(); }  // tasks, in total
  // [loop] Swaps the posted tasks into `into`, which must be empty.
  void take(std::vector<Task>& into);
  // [loop] From now on every post fails. Destroys the tasks that have not begun.
  void close();

  const Waker& waker() const { return waker_; }

  // Called around fork(2): in the child, no mailbox is in the middle of a post by a thread that
  // exists only in the parent.
  static void lock_all();
  static void unlock_all();

 private:
  const void* const owner_ = this_thread_token();
  const std::uint32_t loop_number_;
  const Waker waker_;
  LoopCore* core_;  // loop thread only

  // The wake-up protocol: a poster publishes its task, then sets signalled_, then reads waiting_.
  // The loop sets waiting_, then reads signalled_. These four accesses have one total order
  // (seq_cst), so at least one side sees the other. signalled_ is cleared before the tasks are
  // taken.
  std::atomic<bool> signalled_{false};
  std::atomic<bool> waiting_{false};

  Mutex mutex_;
  std::vector<Task> tasks_ WEIR_GUARDED_BY(mutex_);
  bool closed_ WEIR_GUARDED_BY(mutex_) = false;
  Counter posted_;  // written under mutex_
};

}  // namespace weir::internal
