// WorkerPool: threads that run long work instead of the loops. [any]
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

// Clients with queued work take turns. No client gets all workers or the whole queue: one worker
// (if there are two) and half of the queue are always left for the others.
class WorkerPool {
 public:
  // Gets a token that is set when the pool is destroyed; long work must check it.
  using Work = std::move_only_function<void(const std::stop_token&)>;

  // `queue`: the limit of queued work.
  WorkerPool(std::size_t workers, std::size_t queue);
  // Drops the queued work, requests a stop of the running work, and waits for its end.
  ~WorkerPool() = default;

  // False: the queue of this client, or the whole queue, is full.
  bool submit(const std::string& client, Work work);

 private:
  struct Client {
    std::deque<Work> waiting;
    std::size_t running = 0;
  };
  using Clients = std::map<std::string, Client>;

  void serve(const std::stop_token& stop);
  Clients::iterator next_client();

  const std::size_t most_waiting_, most_waiting_each_, most_running_each_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::size_t waiting_ = 0;
  Clients clients_;                     // with work that is queued or runs
  std::list<Clients::iterator> turns_;  // with queued work; the next one first
  std::vector<std::jthread> workers_;   // last: they end before the members that they use
};
