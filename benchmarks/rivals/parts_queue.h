// The queue of tasks that libraries without one tell their users to write: a mutex around it, and
// their own call to wake the loop after each push. What is taken out keeps its memory for the next
// time.
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
  std::vector<Task> waiting_;  // mutex_
  std::vector<Task> taken_;
};

}  // namespace parts
