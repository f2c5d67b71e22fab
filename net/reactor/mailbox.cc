#include "weir/net/reactor/mailbox.h"

#include <utility>

namespace weir::internal {

namespace {
std::atomic<std::uint32_t> g_loops_made{0};
}

Mailbox::Mailbox(EventLoop& loop, Waker waker)
    : loop_number_(g_loops_made.fetch_add(1, std::memory_order_relaxed)),
      waker_(std::move(waker)),
      loop_(&loop) {}

bool Mailbox::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    tasks_.push_back(std::move(task));
    ++posted_;
  }
  if (!signalled_.exchange(true, std::memory_order_seq_cst) &&
      waiting_.load(std::memory_order_seq_cst)) {
    wake();
  }
  return true;
}

bool Mailbox::prepare_to_wait() {
  waiting_.store(true, std::memory_order_seq_cst);
  return signalled_.load(std::memory_order_seq_cst);
}

void Mailbox::take(std::vector<Task>& into) {
  signalled_.store(false, std::memory_order_seq_cst);
  const std::lock_guard lock(mutex_);
  into.swap(tasks_);
}

void Mailbox::close() {
  std::vector<Task> left;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    left.swap(tasks_);
  }
  loop_ = nullptr;
}

}  // namespace weir::internal
