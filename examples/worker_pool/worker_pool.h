// WorkerPool: threads that take work off the loops. [any]
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

// The clients that wait take turns, and no client has all workers or the whole queue: a worker is
// always left for the others (if there are two), and half of the queue.
class WorkerPool {
 public:
  // Gets a token that says when the program ends: work that takes long looks at it.
  using Work = std::move_only_function<void(const std::stop_token&)>;

  // At most `queue` pieces of work wait.
  WorkerPool(std::size_t workers, std::size_t queue);
  // Drops what waits, tells what is under way to give up, and waits for it.
  ~WorkerPool() = default;

  // False: as many wait as may, of this client or of all.
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
  Clients clients_;                     // those with work that waits or runs
  std::list<Clients::iterator> turns_;  // those with work that waits, the next one first
  std::vector<std::jthread> workers_;   // last: they end before what they use goes
};
