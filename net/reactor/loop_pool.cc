#include "weir/net/reactor/loop_pool.h"

#include <fmt/format.h>

#include <future>
#include <string>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/log.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/sys/thread.h"

namespace weir {

namespace sys = internal::sys;

class LoopPool::Thread {
 public:
  // The thread number `index` of `threads`.
  Thread(std::size_t index, std::size_t threads, EventLoop::Options options) {
    std::promise<Result<EventLoop*>> made;
    auto loop = made.get_future();
    const AllSignalsBlocked signals;
    auto thread = sys::Thread::start(
        fmt::format("weir-loop-{}", index).c_str(),
        [this, options, made = std::move(made), mask = signal_mask_for_children()]() mutable {
          internal::set_signal_mask_for_children(mask);
          serve(options, std::move(made));
        });
    if (!thread) {
      throw SystemError(
          Error(fmt::format("start loop thread {} of {}: pthread_create", index + 1, threads),
                thread.error()));
    }
    thread_ = std::move(*thread);
    auto result = loop.get();
    if (!result) {
      thread_.join();
      throw SystemError(std::move(result.error()));
    }
    loop_ = *result;
  }

  ~Thread() {
    ask_to_end();
    wait_until_ended();
    stage_.store(Stage::destroy);
    stage_.notify_all();
    thread_.join();
  }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  EventLoop& loop() { return *loop_; }

  // First all threads of a pool leave run(), then their loops are destroyed: until the last thread
  // has left, tasks may call post() on any of the loops. It returns false if the loop has left.
  void ask_to_end() {
    Stage running = Stage::run;
    if (stage_.compare_exchange_strong(running, Stage::end)) loop_->stop();
  }
  void wait_until_ended() { stage_.wait(Stage::end); }

 private:
  enum class Stage { run, end, ended, destroy };

  // Nobody can handle an exception from a task or a timer here, so it terminates the program with
  // its message, like any exception that leaves a thread. Only LoopPool::stop() ends the loop:
  // after another stop() the loop runs again.
  void serve(EventLoop::Options options, std::promise<Result<EventLoop*>> made) {
    auto loop = EventLoop::create(options);
    if (!loop) {
      made.set_value(std::unexpected(loop.error()));
      return;
    }
    made.set_value(loop->get());
    while (stage_.load() == Stage::run) (*loop)->run();
    // From here on post() must fail, because no run() will run the task.
    internal::core_of(**loop).mailbox()->close();
    stage_.store(Stage::ended);
    stage_.notify_all();
    stage_.wait(Stage::ended);
  }

  std::atomic<Stage> stage_{Stage::run};
  EventLoop* loop_ = nullptr;  // owned by the thread
  sys::Thread thread_;
};

LoopPool::LoopPool(std::size_t threads, EventLoop::Options options) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.push_back(std::make_unique<Thread>(i, threads, options));
  }
}

Result<std::unique_ptr<LoopPool>> LoopPool::create(std::size_t threads,
                                                   EventLoop::Options options) {
  try {
    return std::make_unique<LoopPool>(threads, options);
  } catch (const SystemError& failure) {
    return std::unexpected(failure.error());
  }
}

LoopPool::~LoopPool() { stop(); }

EventLoop& LoopPool::loop(std::size_t index) {
  WEIR_CHECK(index < size(), "LoopPool::loop({}) of a pool of {}", index, size());
  return threads_[index]->loop();
}

EventLoop& LoopPool::next() {
  WEIR_CHECK(size() > 0, "LoopPool::next on an empty pool");
  return loop(next_.fetch_add(1, std::memory_order_relaxed) % size());
}

void LoopPool::stop() {
  if (!threads_.empty() && threads_.front()->loop().forked()) {
    // The threads exist only in the parent, so their loops cannot be ended here: they are leaked.
    for (auto& thread : threads_) static_cast<void>(thread.release());
    threads_.clear();
    return;
  }
  for (const auto& thread : threads_) {
    WEIR_CHECK(!internal::core_of(thread->loop()).mailbox()->belongs_to_this_thread(),
               "LoopPool stopped or destroyed from one of its own threads");
  }
  for (const auto& thread : threads_) thread->ask_to_end();
  for (const auto& thread : threads_) thread->wait_until_ended();
  threads_.clear();
}

}  // namespace weir
