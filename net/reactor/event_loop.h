// EventLoop: the reactor. One loop, one thread, one order; see docs/loop.md.
//
// A loop belongs to the thread that makes it. Calls marked [any] may come from any thread, all
// others must come from that one, and not from inside a turn of another loop; they check it in
// every build.
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
  static constexpr std::size_t kTurnUnitBits = 10;  // a microsecond, nearly

  struct Options {
    // The block that all connections of the loop read into. Large enough that a bulk stream needs
    // few calls, small enough to stay near the cache.
    std::size_t receive_block = 512 * 1024;
    // A callback that holds the loop for longer is logged (once a second) and counted. 0: off. Time
    // in which the thread did not get a processor is not the callback's.
    Duration stall_threshold = std::chrono::milliseconds(25);
    // And its stack is logged while it is stuck. Costs the process a thread, and the signal
    // SIGRTMAX - 3, which interrupts sleeps and waits of the callback. For debugging.
    bool stall_stacks = false;
  };

  // What a loop has done since it was made.
  struct Stats {
    std::uint64_t turns = 0;
    std::uint64_t events = 0;            // ready descriptors dispatched
    std::uint64_t wakeups = 0;           // turns in which another thread's post ended the wait
    std::uint64_t interest_commits = 0;  // epoll_ctl(2) calls
    std::uint64_t tasks = 0;
    std::uint64_t timers = 0;
    std::uint64_t spurious_events = 0;  // for channels that were removed earlier in the same batch
    std::uint64_t unknown_events = 0;   // for descriptors that should have left epoll (dup, fork)
    Duration busy{};                    // time in run() and turn() not spent waiting
    // Callbacks that computed, or waited for something, longer than stall_threshold; and those
    // that took longer because the thread did not get a processor.
    std::uint64_t stalls = 0;
    std::uint64_t preempted = 0;
    // Turns by the time from waking up to the end: [i] counts those below 2^(10 + i) ns that
    // [i - 1] does not; the last one all longer ones. What a new event may have to wait.
    std::array<std::uint64_t, kTurnBuckets> turn_times{};
    // The difference of the counters.
    friend Stats operator-(Stats later, const Stats& earlier);
    // Their names, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
    // The bound that `percent` per cent of all turns kept, right to a factor of two. 0: no turns.
    Duration turn_time(double percent) const;
  };

  EventLoop() : EventLoop(Options{}) {}
  // Throws SystemError when the kernel refuses a descriptor; create() returns the Error instead.
  explicit EventLoop(Options options);
  static Result<std::unique_ptr<EventLoop>> create() { return create(Options{}); }
  static Result<std::unique_ptr<EventLoop>> create(Options options);
  // On the loop's thread, outside its run(), after all channels and servers on it are gone. Tasks
  // not run are destroyed here, then what local() has made.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Turns until stop(). May be called from inside a turn of another loop. Throws what a task, a
  // timer or a foreign IoHandler threw; what was ready or due with it is kept, and run() may be
  // called again.
  void run();
  // Ends run() after its current turn. Sticky: before run(), it makes the next run() return at
  // once. [any]
  void stop();

  // One turn, which waits for at most `max_wait`. False: stop() was called, in it or before; that
  // is taken back. With these three a loop runs inside one of another kind, whose callbacks call
  // turn(Duration::zero()); see docs/loop.md. Throws as run() does.
  bool turn(Duration max_wait);
  // A descriptor for poll(2) and its kin, readable when turn() has events to serve. The same for
  // the life of the loop, which closes it. Throws SystemError when the kernel refuses one.
  int poll_fd();
  // For how long it may be polled before the next turn() at most: until a timer or a deadline, not
  // at all with work at hand; Duration::max() if there is nothing. To be asked before each poll: it
  // has a later post() make the descriptor readable.
  Duration max_wait();

  // Runs `task` on the loop's thread, after what was posted before by the same thread. False, with
  // the task destroyed, when the loop is being destroyed. [any]
  bool post(Task task);
  // Now if called on the loop's thread, else post(). [any]
  bool dispatch(Task task);

  // Timers run on the loop's thread, never before their time and never from inside these calls.
  // run_after() counts from the moment of the call.
  TimerId run_after(Duration delay, Task task);
  TimerId run_at(TimePoint when, Task task);
  // At now + period, now + 2 * period, ...; times missed while the loop was busy are skipped.
  TimerId run_every(Duration period, Task task);
  // True: it was set and will not run (again). False: it ran, was cancelled, or never was.
  bool cancel(TimerId id);

  // When the current turn began to serve events; Clock::now() while the loop is not running.
  TimePoint now() const;
  // While a turn of this loop runs on the calling thread, and while no loop runs there that was
  // made there. A turn of another loop is another thread to it. [any]
  bool in_loop_thread() const;
  Stats stats() const;  // [any]
  // Posted tasks that have not begun. Who posts at a rate that others decide looks at it. [any]
  std::uint64_t backlog() const;

  // The one T of this loop, for what is shared by all that runs on it. Made by the first call, from
  // the loop if T can be constructed from an EventLoop&, else without arguments. Destroyed with the
  // loop, after connections that have ended, the last one made first.
  template <typename T>
  T& local() {
    const TypeId type = TypeId::of<T>();
    void* object = find_local(type);
    if (object == nullptr) object = keep_local(type, make_local<T>());
    return *static_cast<T*>(object);
  }

  // This process is a fork of the one that made the loop: it may be destroyed here, on the thread
  // that forked, and nothing else. See docs/ownership.md.
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
