#include "worker_pool/worker_pool.h"

#include <utility>

#include "weir/net/reactor/signal_set.h"

WorkerPool::WorkerPool(std::size_t workers, std::size_t queue) : most_(queue) {
  const weir::AllSignalsBlocked signals;  // they are for the loop
  for (std::size_t i = 0; i < workers; ++i) {
    workers_.emplace_back([this](const std::stop_token& stop) { serve(stop); });
  }
}

bool WorkerPool::submit(Work work) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= most_) return false;
    waiting_.push_back(std::move(work));
  }
  wake_.notify_one();
  return true;
}

void WorkerPool::serve(const std::stop_token& stop) {
  for (;;) {
    std::unique_lock lock(mutex_);
    if (!wake_.wait(lock, stop, [this] { return !waiting_.empty(); }) || stop.stop_requested()) {
      return;
    }
    Work work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    work(stop);
  }
}
