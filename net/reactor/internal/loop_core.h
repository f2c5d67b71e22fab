// LoopCore: the implementation of an EventLoop, and its interface for the floors above:
// core_of(loop). [loop] unless marked.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "weir/base/aligned_bytes.h"
#include "weir/base/clock.h"
#include "weir/base/counter.h"
#include "weir/base/slot_map.h"
#include "weir/base/type_id.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/epoll_poller.h"
#include "weir/net/reactor/internal/flush_list.h"
#include "weir/net/reactor/internal/idle_wheel.h"
#include "weir/net/reactor/internal/mailbox.h"
#include "weir/net/reactor/internal/reap_list.h"
#include "weir/net/reactor/internal/timer_queue.h"
#include "weir/net/reactor/internal/turn_clock.h"
#include "weir/net/reactor/internal/watchdog.h"
#include "weir/net/reactor/loop_client.h"

namespace weir::internal {

class LoopCore {
 public:
  // The maximum number of tasks in one turn: some milliseconds if each takes a microsecond. The
  // others run in the next turn, in order.
  static constexpr std::size_t kMaxTasksPerTurn = 4096;
  // After a burst of posts, memory for this number of tasks is kept (40 bytes each).
  static constexpr std::size_t kKeptTasks = 4 * kMaxTasksPerTurn;
  // While the kernel refuses a new epoll set, the loop pauses for this time in each turn: otherwise
  // it would spin, because the old set reports the unknown event again and again.
  static constexpr Duration kRebuildPause = std::chrono::milliseconds(1);

  LoopCore(EventLoop& loop, const EventLoop::Options& options, EpollPoller poller, Waker waker);
  ~LoopCore();
  LoopCore(const LoopCore&) = delete;
  LoopCore& operator=(const LoopCore&) = delete;

  static LoopCore& of(const EventLoop& loop) { return *loop.core_; }
  static LoopCore& of(const Channel& channel) { return *channel.core_; }
  EventLoop& loop() const { return loop_; }
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  // Ends the program with a message that names `call` unless EventLoop::in_loop_thread(). [any]
  void check_thread(const char* call) const {
    if (current_loop() != mailbox_.get()) [[unlikely]]
      check_thread_outside(call);
  }
  // The same for calls that are allowed inside a turn of another loop. [any]
  void check_owner(const char* call) const {
    if (!mailbox_->belongs_to_this_thread()) wrong_thread(call);
  }

  // --- for EventLoop -----------------------------------------------------------------------------

  void end();
  void run();
  bool turn(Duration max_wait);
  Duration max_wait();
  int poll_fd();
  void stop();  // [any]
  TimerQueue& timers() { return timers_; }
  TimePoint now() const;
  EventLoop::Stats stats() const;  // [any]
  std::uint64_t backlog() const;   // [any]
  bool forked() const { return poller_.forked(); }
  // The number of turns begun, including the current one.
  std::uint64_t turns() const { return counters_.turns.value(); }
  void* find_local(TypeId type) const;
  void* keep_local(TypeId type, std::shared_ptr<void> object);

  // --- time --------------------------------------------------------------------------------------

  // Calls client.on_deadline() when `due` has passed. Replaces an earlier deadline of the client.
  void set_deadline(DeadlineClient& client, Tick due) {
    idle_wheel_.catch_up(tick_or_clock());
    idle_wheel_.schedule(client, due);
  }
  void clear_deadline(DeadlineClient& client) { idle_wheel_.cancel(client); }
  const IdleWheel& idle_wheel() const { return idle_wheel_; }
  // The time of the turn in ticks.
  Tick tick() const { return clock_.tick(); }
  // tick(); outside run() and turn(), where it does not advance, the time of the clock.
  Tick tick_or_clock() const { return running_ ? tick() : tick_of(now()); }
  // The latest time at which an event recorded with this tick() may have happened.
  Tick latest(Tick noted) const { return clock_.latest(noted); }
  // The time to compare deadlines about peers with, in ticks: all data that arrived up to this time
  // has been dispatched. At most tick().
  Tick deadline_tick() const { return tick_of(clock_.deadlines_until()); }
  // True if the current callback has run for LoopWatch::kShare. Takes a few instructions.
  bool share_spent() { return watch_.share_spent(); }

  // --- queues for the phases of the turn ---------------------------------------------------------

  // Dispatches the channel in the next turn as if epoll had reported `events` (below 256). Several
  // calls in a turn cause one dispatch, with all events.
  void requeue(Channel& channel, std::uint32_t events);
  // Do nothing if the client is already queued.
  void flush_later(FlushClient& client) { to_flush_.push(client); }
  void reap_later(DeadlineClient& client) { reap_list_.add(client); }
  // Called in on_reap() of a client that cannot be freed yet.
  void reap_again(DeadlineClient& client) { reap_list_.add_again(client); }
  // Keeps `object` until all clients that are queued at the end of this turn have been reaped.
  template <std::derived_from<Kept> T>
  void keep_until_reaped(std::shared_ptr<T> object) noexcept {
    Kept& kept = *object;
    reap_list_.keep_until_reaped(kept, std::move(object));
  }

  // --- channels ----------------------------------------------------------------------------------

  // The handler of the channel with this id; null when the channel was removed.
  IoHandler* find_handler(SlotId id);
  SlotId attach(Channel& channel);
  void detach(Channel& channel);
  void interest_changed(Channel& channel);

  std::span<std::byte> receive_block();

 private:
  class Running;
  class WakeupHandler;
  struct Counters {
    Counter turns, events, wakeups, commits, tasks, timers, spurious, unknown, busy_ns;
    std::array<Counter, EventLoop::kTurnBuckets> turn_times;
  };
  struct Local {
    TypeId type;
    std::shared_ptr<void> object;
  };

  void check_thread_outside(const char* call) const;
  [[noreturn]] void wrong_thread(const char* call) const;

  void check_may_run(const char* call) const;
  void run_phases(Duration max_wait);
  // The phases of a turn, in order.
  void commit_interest();
  void wait(Duration max_wait);
  void dispatch_ready();
  void expire_timers();
  void run_tasks();
  void flush();
  void reap() { reap_list_.run(watch_); }

  Duration time_to_wait(TimePoint now);
  void end_turn();
  bool has_work() const;
  void dispatch_event(SlotId id, std::uint32_t events);
  void dispatch(Channel& channel, std::uint32_t events);
  void rebuild_epoll();
  void end_clients();

  // Constant after construction.
  EventLoop& loop_;
  const EventLoop::Options options_;
  const std::shared_ptr<Mailbox> mailbox_;

  // Loop thread only.
  EpollPoller poller_;
  SlotMap<Channel*> channels_;
  std::vector<SlotId> to_commit_;
  std::span<const epoll_event> ready_;  // the rest of the batch
  std::vector<SlotId> requeued_;      // for the next turn; a channel is at most once in these lists
  std::vector<SlotId> requeued_now_;  // of this turn, from requeued_next_ on
  std::size_t requeued_next_ = 0;
  TimerQueue timers_;
  IdleWheel idle_wheel_;
  std::vector<Task> tasks_;  // taken from the mailbox, from task_next_ on
  std::size_t task_next_ = 0;
  FlushList to_flush_;
  FlushList flushing_;  // the rest of this turn's
  ReapList reap_list_;
  AlignedBytes receive_block_;
  std::vector<Local> locals_;  // in the order of their creation
  std::unique_ptr<WakeupHandler> wakeup_handler_;
  TurnClock clock_;
  LoopWatch watch_;
  std::uint64_t detached_ = 0;          // channels detached, in total
  std::uint64_t detached_at_wait_ = 0;  // detached_ when the batch was taken
  bool running_ = false;
  bool rebuild_wanted_ = false;

  // Any thread.
  std::atomic<bool> stop_{false};
  Counters counters_;
};

inline LoopCore& core_of(const EventLoop& loop) { return LoopCore::of(loop); }
inline LoopCore& core_of(const Channel& channel) { return LoopCore::of(channel); }

}  // namespace weir::internal
