// LoopPool: n threads with a loop each. [the thread that made it], next() [any]
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"

namespace WEIR_EXPORT weir {

class LoopPool {
 public:
  // Starts `threads` threads (0 is allowed) and returns when all loops run. The threads are named
  // weir-loop-N and block every signal. Throws SystemError when a thread or loop cannot be made;
  // create() returns the Error instead.
  explicit LoopPool(std::size_t threads, EventLoop::Options options = {});
  static Result<std::unique_ptr<LoopPool>> create(std::size_t threads,
                                                  EventLoop::Options options = {});
  // stop().
  ~LoopPool();
  LoopPool(const LoopPool&) = delete;
  LoopPool& operator=(const LoopPool&) = delete;

  std::size_t size() const { return threads_.size(); }
  EventLoop& loop(std::size_t index);
  // Round robin. The pool must not be empty. [any]
  EventLoop& next();

  // Ends all loops, waits for their threads, and destroys the loops. Not from one of those threads.
  // (EventLoop::stop() on a loop of a pool ends nothing.)
  void stop();

 private:
  class Thread;

  std::vector<std::unique_ptr<Thread>> threads_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace weir
