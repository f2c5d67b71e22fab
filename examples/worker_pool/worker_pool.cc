#include "worker_pool/worker_pool.h"

#include <algorithm>
#include <utility>

#include "weir/net/reactor/signal_set.h"

WorkerPool::WorkerPool(std::size_t workers, std::size_t queue)
    : most_waiting_(queue),
      most_waiting_each_(std::max<std::size_t>(1, queue / 2)),
      most_running_each_(std::max<std::size_t>(1, workers - 1)) {
  const weir::AllSignalsBlocked signals;  // signals are for the loop's thread
  for (std::size_t i = 0; i < workers; ++i) {
    workers_.emplace_back([this](const std::stop_token& stop) { serve(stop); });
  }
}

bool WorkerPool::submit(const std::string& client, Work work) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_ >= most_waiting_) return false;
    const auto found = clients_.try_emplace(client).first;
    auto& queue = found->second.waiting;
    if (queue.size() >= most_waiting_each_) return false;
    if (queue.empty()) turns_.push_back(found);
    queue.push_back(std::move(work));
    ++waiting_;
  }
  wake_.notify_one();
  return true;
}

// The first client that may have one more worker; end() if no client may. [mutex]
WorkerPool::Clients::iterator WorkerPool::next_client() {
  const auto may_run = [this](Clients::iterator client) {
    return client->second.running < most_running_each_;
  };
  const auto turn = std::ranges::find_if(turns_, may_run);
  if (turn == turns_.end()) return clients_.end();
  const Clients::iterator client = *turn;
  if (client->second.waiting.size() == 1) {
    turns_.erase(turn);
  } else {
    turns_.splice(turns_.end(), turns_, turn);
  }
  return client;
}

void WorkerPool::serve(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    auto client = clients_.end();
    const auto found = [&] { return (client = next_client()) != clients_.end(); };
    if (!wake_.wait(lock, stop, found) || stop.stop_requested()) return;
    Work work = std::move(client->second.waiting.front());
    client->second.waiting.pop_front();
    --waiting_;
    ++client->second.running;
    lock.unlock();
    work(stop);
    work = nullptr;  // destroys it before the lock is taken
    lock.lock();
    --client->second.running;
    if (client->second.running == 0 && client->second.waiting.empty()) clients_.erase(client);
    wake_.notify_one();  // its client may use another worker now
  }
}
