// The queue of tasks that users of a library without one must write: a mutex around it, and a call
// of the library to wake the loop after each push. The memory is reused.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace parts {

class GuardedQueue {
 public:
  using Task = std::move_only_function<void()>;

  // [any thread]
  void push(Task task) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(task));
  }
  // On the loop's thread.
  void run_all() {
    {
      const std::lock_guard lock(mutex_);
      taken_.swap(waiting_);
    }
    for (Task& task : taken_) task();
    taken_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<Task> waiting_;  // guarded by mutex_
  std::vector<Task> taken_;
};

}  // namespace parts
