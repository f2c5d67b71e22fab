// WorkerPool: threads that take work off the loops. [any]
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

class WorkerPool {
 public:
  // Gets a token that says when the program ends: work that takes long looks at it.
  using Work = std::move_only_function<void(const std::stop_token&)>;

  // At most `queue` pieces of work wait.
  WorkerPool(std::size_t workers, std::size_t queue);
  // Drops what waits, tells what is under way to give up, and waits for it.
  ~WorkerPool() = default;

  // False: as many wait as may.
  bool submit(Work work);

 private:
  void serve(const std::stop_token& stop);

  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Work> waiting_;
  std::vector<std::jthread> workers_;  // last: they end before what they use goes
};
