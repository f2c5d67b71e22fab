#include "weir/net/reactor/internal/mailbox.h"

#include <array>
#include <cstddef>
#include <new>
#include <utility>

#include "weir/net/sys/thread.h"

namespace weir::internal {

namespace {

std::atomic<std::uint32_t> g_loops_made{0};

// Never destroyed, because the destructor of a static object may destroy a loop. Not on the heap.
struct Registry {
  Mutex mutex;
  IntrusiveList<Mailbox, AllMailboxesTag> all WEIR_GUARDED_BY(mutex);
};
Registry& registry() {
  alignas(Registry) static std::array<std::byte, sizeof(Registry)> place;
  static Registry* const shared = [] {
    sys::at_fork(Mailbox::lock_all, Mailbox::unlock_all, Mailbox::unlock_all);
    return ::new (place.data()) Registry;
  }();
  return *shared;
}

}  // namespace

Mailbox::Mailbox(LoopCore& core, Waker waker)
    : loop_number_(g_loops_made.fetch_add(1, std::memory_order_relaxed)),
      waker_(std::move(waker)),
      core_(&core) {
  Registry& shared = registry();
  const MutexLock lock(shared.mutex);
  shared.all.push_back(*this);
}

Mailbox::~Mailbox() {
  const MutexLock lock(registry().mutex);
  unlink();
}

void Mailbox::lock_all() WEIR_UNCHECKED_LOCKS {
  Registry& shared = registry();
  shared.mutex.lock();
  for (Mailbox& each : shared.all) each.mutex_.lock();
}

void Mailbox::unlock_all() WEIR_UNCHECKED_LOCKS {
  Registry& shared = registry();
  for (Mailbox& each : shared.all) each.mutex_.unlock();
  shared.mutex.unlock();
}

bool Mailbox::post(Task task) {
  {
    const MutexLock lock(mutex_);
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
  const MutexLock lock(mutex_);
  into.swap(tasks_);
}

void Mailbox::close() {
  std::vector<Task> left;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    left.swap(tasks_);
  }
  core_ = nullptr;
}

}  // namespace weir::internal
