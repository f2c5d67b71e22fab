// LoopPool: n threads, each of which runs a loop. [the thread that created it] next() is [any].
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
  // Starts `threads` threads (0 is allowed) and returns when all loops have been created. The
  // threads are named weir-loop-N and block all signals. Throws SystemError when a thread or a loop
  // cannot be created; create() returns the Error instead.
  explicit LoopPool(std::size_t threads, EventLoop::Options options = {});
  static Result<std::unique_ptr<LoopPool>> create(std::size_t threads,
                                                  EventLoop::Options options = {});
  // Calls stop().
  ~LoopPool();
  LoopPool(const LoopPool&) = delete;
  LoopPool& operator=(const LoopPool&) = delete;

  std::size_t size() const { return threads_.size(); }
  EventLoop& loop(std::size_t index);
  // Round robin. The pool must not be empty. [any]
  EventLoop& next();

  // Ends all loops, joins their threads and destroys the loops. Must not be called on one of these
  // threads (CHECK). (EventLoop::stop() has no effect on a loop of a pool.)
  void stop();

 private:
  class Thread;

  std::vector<std::unique_ptr<Thread>> threads_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace weir
