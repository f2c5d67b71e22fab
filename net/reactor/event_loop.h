// EventLoop: the reactor. It runs callbacks on one thread, in a fixed order; see docs/loop.md.
//
// A loop belongs to the thread that creates it. Calls marked [any] may be made on any thread. All
// other calls must be made on the loop's thread, outside the turns of other loops; every build
// checks that.
#pragma once

#include "weir/base/requirements.h"

#include <array>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/metrics.h"
#include "weir/base/result.h"
#include "weir/base/type_id.h"
#include "weir/net/reactor/task.h"

namespace weir::internal {
class LoopCore;
}

namespace WEIR_EXPORT weir {

class EventLoop {
 public:
  static constexpr std::size_t kTurnBuckets = 24;
  static constexpr std::size_t kTurnUnitBits = 10;  // 2^10 ns, about a microsecond

  struct Options {
    // Size in bytes of the block that all connections of the loop read into. It is large enough
    // that a bulk stream needs few calls, and small enough to stay in a processor cache.
    std::size_t receive_block = 512 * 1024;
    // A callback that holds the loop for longer is logged (at most once a second) and counted.
    // 0: off. Time in which the thread did not get a processor is not attributed to the callback.
    Duration stall_threshold = std::chrono::milliseconds(25);
    // Also logs the stack of such a callback while it runs. For debugging: it takes one thread of
    // the process and the signal SIGRTMAX - 3, which interrupts sleeps and waits of the callback.
    bool stall_stacks = false;
  };

  // Totals since the loop was created.
  struct Stats {
    std::uint64_t turns = 0;
    std::uint64_t events = 0;            // ready descriptors dispatched
    std::uint64_t wakeups = 0;           // turns in which another thread's post ended the wait
    std::uint64_t interest_commits = 0;  // epoll_ctl(2) calls
    std::uint64_t tasks = 0;
    std::uint64_t timers = 0;
    std::uint64_t spurious_events = 0;  // for channels that were removed earlier in the same batch
    std::uint64_t unknown_events = 0;   // for closed descriptors still in epoll (dup, fork)
    Duration busy{};                    // time in run() and turn() not spent waiting
    // stalls: callbacks that computed or waited for longer than stall_threshold. preempted:
    // callbacks that took longer because the thread did not get a processor.
    std::uint64_t stalls = 0;
    std::uint64_t preempted = 0;
    // Turns by duration, from the wake-up to the end: [i] counts the turns below 2^(10 + i) ns that
    // [i - 1] does not count; the last element counts all longer ones. A new event can wait for the
    // duration of one turn.
    std::array<std::uint64_t, kTurnBuckets> turn_times{};
    // The differences of the counters.
    friend Stats operator-(Stats later, const Stats& earlier) {
      return metrics_difference(later, earlier);
    }
    // Names and values for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
    // The duration that `percent` per cent of all turns did not exceed, accurate to a factor of
    // two. 0: no turns.
    Duration turn_time(double percent) const;
  };

  EventLoop() : EventLoop(Options{}) {}
  // Throws SystemError when the kernel refuses a descriptor; create() returns the Error instead.
  explicit EventLoop(Options options);
  static Result<std::unique_ptr<EventLoop>> create() { return create(Options{}); }
  static Result<std::unique_ptr<EventLoop>> create(Options options);
  // Destroy a loop on its thread, outside run() and turn(), after all channels and servers on it.
  // Destroys the tasks that have not run, then the objects of local().
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs turns until stop(). May be called inside a turn of another loop. An exception from a task,
  // a timer or an IoHandler of the program leaves run(); no other event, timer or task is lost, and
  // run() may be called again.
  void run();
  // Makes run() return after its current turn. If run() is not running, the next run() returns
  // immediately. [any]
  void stop();

  // turn(), poll_fd() and max_wait() run a loop inside a loop of another library, whose callback
  // calls turn(Duration::zero()); see docs/loop.md.
  //
  // Runs one turn, which waits for at most `max_wait`. False: stop() was called before or during
  // it; the request is then cleared. Throws as run() does.
  bool turn(Duration max_wait);
  // A descriptor for poll(2) or epoll(7) that is readable when turn() has events to handle. It
  // stays the same for the life of the loop, which closes it. Throws SystemError when the kernel
  // refuses a descriptor.
  int poll_fd();
  // The longest time to poll that descriptor before the next turn(): zero if work is pending, else
  // the time until the next timer or deadline; Duration::max() if there is none. Call it before
  // each poll: only then a later post() makes the descriptor readable.
  Duration max_wait();

  // Runs `task` on the loop's thread, after the tasks that the calling thread posted before. False
  // when the loop is being destroyed; the task is then destroyed. [any]
  bool post(Task task);
  // Runs `task` immediately if called on the loop's thread; otherwise post(). [any]
  bool dispatch(Task task);

  // Timers run on the loop's thread, never early and never inside these calls. run_after() counts
  // from the time of the call.
  TimerId run_after(Duration delay, Task task);
  TimerId run_at(TimePoint when, Task task);
  // Runs at now + period, now + 2 * period, ...; times that pass while the loop is busy are
  // skipped.
  TimerId run_every(Duration period, Task task);
  // True: the timer was set and will not run (again). False: it has run, was cancelled, or never
  // existed.
  bool cancel(TimerId id);

  // The time at which the current turn began to handle events; Clock::now() outside run() and
  // turn().
  TimePoint now() const;
  // True inside a turn of this loop. Also true on the thread that created the loop, outside the
  // turns of all loops. False inside a turn of another loop. [any]
  bool in_loop_thread() const;
  Stats stats() const;  // [any]
  // The number of posted tasks that have not begun. A program whose rate of posts is decided by
  // others uses it to limit them. [any]
  std::uint64_t backlog() const;

  // The T of this loop: one object of each type, shared by everything on the loop. The first call
  // creates it: T(EventLoop&) if there is such a constructor, else T(). These objects are destroyed
  // with the loop, after closed connections, in reverse order of their creation.
  template <typename T>
  T& local() {
    const TypeId type = TypeId::of<T>();
    void* object = find_local(type);
    if (object == nullptr) object = keep_local(type, make_local<T>());
    return *static_cast<T*>(object);
  }

  // True if this process is a fork of the one that created the loop. Then the loop can only be
  // destroyed, on the thread that forked. See docs/ownership.md.
  bool forked() const;

 private:
  friend class internal::LoopCore;

  template <typename T>
  std::shared_ptr<void> make_local() {
    if constexpr (std::is_constructible_v<T, EventLoop&>) {
      return std::make_shared<T>(*this);
    } else {
      return std::make_shared<T>();
    }
  }
  void* find_local(TypeId type) const;
  void* keep_local(TypeId type, std::shared_ptr<void> object);

  const std::unique_ptr<internal::LoopCore> core_;
};

}  // namespace weir
