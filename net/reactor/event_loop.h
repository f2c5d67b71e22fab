// EventLoop: the reactor. One loop, one thread, one order; see docs/loop.md.
//
// A loop belongs to the thread that makes it. Calls marked [any] may come from any thread, all
// others must come from that one, and not from inside a turn of another loop; they check it in
// every build.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "weir/base/aligned_bytes.h"
#include "weir/base/clock.h"
#include "weir/base/counter.h"
#include "weir/base/intrusive_list.h"
#include "weir/base/metrics.h"
#include "weir/base/result.h"
#include "weir/base/slot_map.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/epoll_poller.h"
#include "weir/net/reactor/idle_wheel.h"
#include "weir/net/reactor/loop_client.h"
#include "weir/net/reactor/mailbox.h"
#include "weir/net/reactor/slow_turns.h"
#include "weir/net/reactor/timer_queue.h"
#include "weir/net/reactor/watchdog.h"

namespace weir {

class EventLoop {
 public:
  // Tasks run in one turn before the loop looks at its descriptors again: some milliseconds at most
  // when each takes a microsecond. Those above it run in the next turn, in order.
  static constexpr std::size_t kMaxTasksPerTurn = 4096;
  // Connections that end in one turn, with on_close and close(2), which takes tens of microseconds
  // where it sends a RST: some milliseconds in all. More wait for the next turn, which comes at
  // once.
  static constexpr std::size_t kMaxReapedPerTurn = 64;
  // Places for tasks that are kept when a storm of posts is over (40 bytes each).
  static constexpr std::size_t kKeptTasks = 4 * kMaxTasksPerTurn;

  // While the kernel refuses a new epoll set the loop pauses for this long in each turn: the event
  // that asked for the set keeps the old one from sleeping.
  static constexpr Duration kRebuildPause = std::chrono::milliseconds(1);

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
    Duration busy{};                    // time not spent waiting
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
  // not run are destroyed here.
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
  bool in_loop_thread() const { return mailbox_->in_loop_thread(); }
  Stats stats() const;  // [any]
  // Posted tasks that have not begun. Who posts at a rate that others decide looks at it. [any]
  std::uint64_t backlog() const;

  // This process is a fork of the one that made the loop: it may be destroyed here, on the thread
  // that forked, and nothing else. See docs/ownership.md.
  bool forked() const { return poller_.forked(); }

  // -- for the floors above --------------------------------------------------------------------

  // Ends the program with a message that names `call`, unless in_loop_thread().
  void check_thread(const char* call) const {
    if (!in_loop_thread()) [[unlikely]]
      wrong_thread(call);
  }
  const std::shared_ptr<internal::Mailbox>& mailbox() const { return mailbox_; }
  internal::IdleWheel& idle_wheel() { return idle_wheel_; }
  // The turn's time in the wheel's unit.
  internal::Tick tick() const { return tick_; }
  // tick(), but outside run(), where no turn moves it, the clock.
  internal::Tick tick_or_clock() const { return running_ ? tick_ : internal::tick_of(now()); }
  // The latest time at which that may have happened which was noted with tick().
  internal::Tick latest(internal::Tick noted) const { return slow_turns_.latest(noted); }
  // The time by which deadlines about peers are judged, in the wheel's unit: everything that had
  // arrived by then has been dispatched. At most tick().
  internal::Tick deadline_tick() const { return internal::tick_of(deadlines_until_); }
  // The handler of a channel as it was attached; nullptr when the channel is gone.
  IoHandler* find_handler(SlotId id);
  // Has the channel dispatched in the next turn as if epoll had reported `events`: once, however
  // often it is asked for.
  void requeue(Channel& channel, std::uint32_t events);
  // Whether the callback that is running has had its share of the turn, kShare. A few instructions.
  bool share_spent() { return watch_.share_spent(); }
  // Neither needs memory, and each of them takes a client once until its turn has come.
  void flush_later(internal::LoopClient& client) { to_flush_.push(client); }
  // Takes the client out of the wheel.
  void reap_later(internal::LoopClient& client) { to_reap_.push_back(client); }
  // From on_reap(), of a client that cannot go yet.
  void reap_again(internal::LoopClient& client);
  // Keeps `object` until all clients have gone that are to be reaped by the end of this turn.
  void keep_until_reaped(std::shared_ptr<void> object) { graveyard_.push_back(std::move(object)); }
  std::span<std::byte> receive_block();
  // One object of each floor that keeps something for the loop, made by it on first use.
  enum class Attachment : std::uint8_t { tcp, udp };
  std::shared_ptr<void>& attachment(Attachment whose) {
    return attachments_[static_cast<std::size_t>(whose)];
  }

 private:
  friend class Channel;
  class WakeupHandler;
  struct Counters {
    Counter turns, events, wakeups, commits, tasks, timers, spurious, unknown, busy_ns;
    std::array<Counter, kTurnBuckets> turn_times;
  };

  EventLoop(Options options, EpollPoller poller, Waker waker);
  void check_owner(const char* call) const;
  [[noreturn]] static void wrong_thread(const char* call);

  // Of channels.
  SlotId attach(Channel& channel);
  void detach(Channel& channel);
  void interest_changed(Channel& channel);

  // The phases of a turn, in order.
  void turn();
  void commit_interest();
  void wait();
  void dispatch_ready();
  void expire_timers();
  void run_tasks();
  void flush();
  void reap();

  Duration time_to_wait();
  void note_look(TimePoint before, Duration timeout);
  void note_turn(Duration took);
  void end_tick(TimePoint now);
  bool has_work() const;
  std::size_t count_dead();
  bool has_dead() const { return !to_reap_.empty() || !reaping_.empty(); }
  void dispatch_event(SlotId id, std::uint32_t events);
  void dispatch(Channel& channel, std::uint32_t events);
  void rebuild_epoll();

  // Constant after construction.
  const Options options_;
  const std::shared_ptr<internal::Mailbox> mailbox_;

  // Loop thread only.
  EpollPoller poller_;
  SlotMap<Channel*> channels_;
  std::vector<SlotId> to_commit_;
  std::span<const epoll_event> ready_;  // what is left of the batch
  std::vector<SlotId> requeued_;      // for the next turn; a channel is in these lists once at most
  std::vector<SlotId> requeued_now_;  // of this turn, from requeued_next_ on
  std::size_t requeued_next_ = 0;
  TimerQueue timers_;
  internal::IdleWheel idle_wheel_;
  std::vector<Task> tasks_;  // taken from the mailbox, from task_next_ on
  std::size_t task_next_ = 0;
  internal::FlushList to_flush_;
  internal::FlushList flushing_;  // what is left of this turn's
  IntrusiveList<internal::LoopClient, internal::IdleWheelTag> to_reap_;
  IntrusiveList<internal::LoopClient, internal::IdleWheelTag> reaping_;  // the same
  std::vector<std::shared_ptr<void>> graveyard_;  // kept since buried_ was last filled
  std::vector<std::shared_ptr<void>> buried_;     // goes when so many more have gone:
  std::size_t dead_before_buried_ = 0;
  internal::AlignedBytes receive_block_;
  std::array<std::shared_ptr<void>, 2> attachments_;
  std::unique_ptr<WakeupHandler> wakeup_handler_;
  TimePoint now_;
  internal::Tick tick_;
  internal::SlowTurns slow_turns_;
  // Phase 4 goes by these instead of now_, because the process may be stopped, or a callback may
  // block, between the arrival of data and the reading of the clock.
  TimePoint timers_until_;
  TimePoint deadlines_until_;
  TimePoint look_began_;         // of the batches that are full so far
  std::size_t look_events_ = 0;  // found in them; 0: no such look is under way
  internal::LoopWatch watch_;
  std::uint64_t detached_ = 0;          // channels detached, ever
  std::uint64_t detached_at_wait_ = 0;  // the same when the batch was taken
  bool running_ = false;
  bool turned_ = false;  // now_ is when the last turn of this run() woke up
  bool rebuild_wanted_ = false;

  // Any thread.
  std::atomic<bool> stop_{false};
  Counters counters_;
};

}  // namespace weir
