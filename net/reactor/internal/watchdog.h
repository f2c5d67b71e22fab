// LoopWatch: notices callbacks that hold their loop for too long. EventLoop's own; programs set
// EventLoop::Options::stall_threshold and stall_stacks. docs/loop.md
//
// A callback is timed by the processor's time stamp counter, which costs a few instructions where
// asking the clock would cost more than the rest of a small message. What is noted there can be
// read by the watchdog's thread, which exists only while a loop wants stacks.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include "weir/base/clock.h"
#include "weir/base/counter.h"

namespace weir::internal {

class Watchdog;

// What a loop is doing.
enum class Activity : std::uint8_t {
  waiting,   // or not in run()
  channel,   // a handler; of the fd
  timer,     // a task; of the slot of its TimerId
  deadline,  // a coarse deadline of a connection
  task,      // a posted task
  flush,     // phase 6 of one connection
  reap,      // phase 7 of one connection: on_close, destructors
};

// Counts at a steady rate, whatever the clock of a test says.
inline std::uint64_t processor_ticks() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

class LoopWatch {
 public:
  // How long one callback may take messages of one peer before it is the turn of others.
  static constexpr Duration kShare = std::chrono::milliseconds(1);

  // What the loop's thread has had of the processor since it began.
  struct Usage {
    Duration cpu{};
    std::uint64_t waits = 0;  // times it gave the processor away: for a lock, a disk, a sleep
  };

  // On the loop's thread. Threshold zero: off.
  LoopWatch(Duration threshold, bool stacks);
  ~LoopWatch();
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  // A turn has something to do; it is waiting again.
  // The wait that comes to its end was a sleep.
  void slept() { ++sleeps_; }
  void begin() {
    const std::uint64_t now = processor_ticks();
    look_at_ += now - since_.load(std::memory_order_relaxed);  // waiting does not bring it nearer
    since_.store(now, std::memory_order_relaxed);
  }
  void rest() { activity_.store(Activity::waiting, std::memory_order_relaxed); }

  // Around each callback.
  void enter(Activity activity, std::uint64_t id = 0) {
    activity_.store(activity, std::memory_order_relaxed);
    id_.store(id, std::memory_order_relaxed);
  }
  void leave() {
    const std::uint64_t now = processor_ticks();
    const std::uint64_t since = since_.load(std::memory_order_relaxed);
    since_.store(now, std::memory_order_relaxed);
    // Signed: the counters of two processors may differ a little.
    if (static_cast<std::int64_t>(now - look_at_) > 0) [[unlikely]]
      look(now, since);
  }

  // Whether the callback that runs has had kShare.
  bool share_spent() {
    const std::uint64_t ticks = processor_ticks() - since_.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(ticks) > share_ && measured_above_share(ticks);
  }

  std::uint64_t stalls() const { return stalls_.value(); }        // [any]
  std::uint64_t preempted() const { return preempted_.value(); }  // [any]

 private:
  friend class Watchdog;
  // How much of the processor the thread has used is asked for each eighth of a threshold that the
  // loop is busy, for so many times after a callback was slow. A loop without such callbacks makes
  // no system call for them.
  static constexpr std::int64_t kLooks = 8;
  static constexpr int kLooksAfterStall = 1000;

  enum class Cause : std::uint8_t { unknown, computing, waiting, preempted };

  void look(std::uint64_t now, std::uint64_t since);
  Cause look_at_usage();
  void held(Duration took, Cause cause);
  bool measured_above_share(std::uint64_t ticks);

  std::atomic<std::uint64_t> since_{processor_ticks()};
  std::atomic<std::uint64_t> id_{0};
  std::atomic<Activity> activity_{Activity::waiting};
  bool stacks_;
  const Duration threshold_;
  std::int64_t share_;        // ticks
  std::uint64_t look_at_;     // ticks
  Usage usage_;               // as of the last look
  std::uint64_t sleeps_ = 0;  // of the loop itself, ever
  std::uint64_t sleeps_at_look_ = 0;
  int looks_left_ = 0;
  Counter stalls_;
  Counter preempted_;

  // The watchdog's.
  const pthread_t thread_;
  const std::uint32_t process_;  // by generation
  std::uint64_t sampled_ = 0;    // since_ of the callback whose stack was taken last
};

}  // namespace weir::internal
