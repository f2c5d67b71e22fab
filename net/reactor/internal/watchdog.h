// LoopWatch: detects callbacks that hold their loop for too long. Internal; programs set
// EventLoop::Options::stall_threshold and stall_stacks. See docs/loop.md.
//
// A callback is timed with the time stamp counter of the processor, which takes a few instructions.
// Reading the clock would cost more than the rest of a small message. The watchdog's thread, which
// exists only while a loop has stall_stacks, reads the atomic members.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include "weir/base/clock.h"
#include "weir/base/counter.h"
#include "weir/base/wraps.h"

namespace weir::internal {

class Watchdog;

// The current activity of a loop. The id, where there is one, is an argument of enter().
enum class Activity : std::uint8_t {
  waiting,   // or not in run()
  channel,   // a handler; id: the descriptor
  timer,     // a timer; id: the slot of its TimerId
  deadline,  // a coarse deadline of a connection
  task,      // a posted task
  flush,     // phase 6 for one connection
  reap,      // phase 7 for one connection: on_close, destructors
};

// Counts at a constant rate, independent of the clock of a test.
inline std::uint64_t processor_ticks() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

class LoopWatch {
 public:
  // The longest time for which one callback should process messages of one peer.
  static constexpr Duration kShare = std::chrono::milliseconds(1);

  // The processor usage of the loop's thread since it was started.
  struct Usage {
    Duration cpu{};
    std::uint64_t waits = 0;  // voluntary context switches: for a lock, a disk, a sleep
  };

  // Construct it on the loop's thread. Threshold zero: off.
  LoopWatch(Duration threshold, bool stacks);
  ~LoopWatch();
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  // The wait that ends now was a sleep.
  void slept() { ++sleeps_; }
  // The callbacks of a turn begin.
  void begin() {
    const std::uint64_t now = processor_ticks();
    next_check_ += now - since_.load(std::memory_order_relaxed);  // the wait does not count
    since_.store(now, std::memory_order_relaxed);
  }
  // The callbacks of a turn have ended.
  void rest() { activity_.store(Activity::waiting, std::memory_order_relaxed); }

  // Call these before and after each callback.
  void enter(Activity activity, std::uint64_t id = 0) {
    activity_.store(activity, std::memory_order_relaxed);
    id_.store(id, std::memory_order_relaxed);
  }
  WEIR_WRAPS void leave() {
    const std::uint64_t now = processor_ticks();
    const std::uint64_t since = since_.load(std::memory_order_relaxed);
    since_.store(now, std::memory_order_relaxed);
    // Signed: the counters of two processors may differ a little.
    if (static_cast<std::int64_t>(now - next_check_) > 0) [[unlikely]]
      check(now, since);
  }

  // True if the current callback has run for kShare.
  bool share_spent() {
    const std::uint64_t ticks = processor_ticks() - since_.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(ticks) > share_ && measured_above_share(ticks);
  }

  std::uint64_t stalls() const { return stalls_.value(); }        // [any]
  std::uint64_t preempted() const { return preempted_.value(); }  // [any]

 private:
  friend class Watchdog;
  // While the loop is busy, it is checked kChecksPerThreshold times in each stall_threshold. After
  // a slow callback, the next kChecksAfterStall checks read the processor usage of the thread. A
  // loop without slow callbacks makes no system call.
  static constexpr std::int64_t kChecksPerThreshold = 8;
  static constexpr int kChecksAfterStall = 1000;

  enum class Cause : std::uint8_t { unknown, computing, waiting, preempted };

  void check(std::uint64_t now, std::uint64_t since);
  Cause check_usage();
  void report_stall(Duration took, Cause cause);
  bool measured_above_share(std::uint64_t ticks);

  std::atomic<std::uint64_t> since_{processor_ticks()};
  std::atomic<std::uint64_t> id_{0};
  std::atomic<Activity> activity_{Activity::waiting};
  bool stacks_;
  const Duration threshold_;
  std::int64_t share_;        // ticks
  std::uint64_t next_check_;  // ticks
  Usage usage_;               // at the last check
  std::uint64_t sleeps_ = 0;  // of the loop itself, in total
  std::uint64_t sleeps_at_check_ = 0;
  int checks_left_ = 0;
  Counter stalls_;
  Counter preempted_;

  // For the watchdog.
  const pthread_t thread_;
  const std::uint32_t process_;  // sys::process_generation()
  std::uint64_t sampled_ = 0;    // since_ of the callback whose stack was taken last
};

}  // namespace weir::internal
