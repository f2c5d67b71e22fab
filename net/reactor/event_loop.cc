// The turn (the numbers are those of docs/loop.md):
//
//   1 commit interest -> 2 wait -> 3 dispatch ready channels -> 4 expire timers and deadlines
//   ^                                                                      |
//   +---- 7 reap the dead <- 6 flush output that came from elsewhere <- 5 run posted tasks
//
// Phases 3 to 7 work through snapshots, so what re-posts or re-arms itself waits for the next turn.
// They call code that may throw; each keeps its place in members, so that the next run() goes on
// where the exception left.
#include "weir/net/reactor/event_loop.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <new>
#include <thread>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/log_line.h"
#include "weir/net/sys/sys.h"

namespace weir {

namespace sys = internal::sys;

// Empties the eventfd when another thread's post ended the wait.
class EventLoop::WakeupHandler final : public IoHandler {
 public:
  explicit WakeupHandler(EventLoop& loop)
      : loop_(loop), channel_(loop, loop.mailbox_->waker().fd(), *this) {
    channel_.set_reading(true);
  }

 private:
  void on_ready(std::uint32_t) override {
    ++loop_.counters_.wakeups;
    loop_.mailbox_->waker().drain();
  }
  void on_interest_refused(Errno error) override {
    throw SystemError(Error("watch the loop's eventfd: epoll_ctl", error));
  }

  EventLoop& loop_;
  Channel channel_;
};

namespace {

// Unwraps in a constructor, where there is no other way to report.
template <typename T>
T value_or_throw(Result<T> result) {
  if (!result) throw SystemError(std::move(result.error()));
  return std::move(*result);
}

std::uint64_t nanoseconds(Duration d) { return static_cast<std::uint64_t>(d.count()); }

}  // namespace

EventLoop::EventLoop(Options options)
    : EventLoop(options, value_or_throw(EpollPoller::create()), value_or_throw(Waker::create())) {}

EventLoop::EventLoop(Options options, EpollPoller poller, Waker waker)
    : options_(options),
      mailbox_(std::make_shared<internal::Mailbox>(*this, std::move(waker))),
      poller_(std::move(poller)),
      idle_wheel_(sys::now()),
      now_(sys::now()),
      tick_(internal::tick_of(now_)),
      timers_until_(now_),
      deadlines_until_(now_),
      watch_(options.stall_threshold, options.stall_stacks) {
  const internal::CurrentLoop current(*mailbox_);
  wakeup_handler_ = std::make_unique<WakeupHandler>(*this);
  commit_interest();
}

Result<std::unique_ptr<EventLoop>> EventLoop::create(Options options) {
  try {
    return std::make_unique<EventLoop>(options);
  } catch (const SystemError& failure) {
    return std::unexpected(failure.error());
  } catch (const std::bad_alloc&) {
    return std::unexpected(Error("create an event loop", Errno(ENOMEM)));
  }
}

EventLoop::~EventLoop() {
  check_owner("EventLoop::~EventLoop");
  WEIR_CHECK(!running_,
             "EventLoop destroyed inside its own run(): call stop() and destroy it later");
  const internal::CurrentLoop current(*mailbox_);
  std::vector<Task> left = std::move(tasks_);
  left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(task_next_));
  mailbox_->close();  // destroys what was posted
  left.clear();
  // The queue is whole again before the tasks go: their destructors may set and cancel timers.
  static_cast<void>(std::exchange(timers_, TimerQueue()));
  watch_.begin();
  while (has_dead() || !graveyard_.empty() || !buried_.empty()) {
    flush();
    reap();
  }
  watch_.rest();
  attachments_ = {};
  wakeup_handler_.reset();
  WEIR_CHECK(
      channels_.empty(),
      "EventLoop destroyed while {} channels are still on it: destroy servers, clients, signal "
      "sets and channels first",
      channels_.size());
}

// What the last turn of this run() has noted with tick_ happened by `now`.
inline void EventLoop::end_tick(TimePoint now) {
  const internal::Tick ended = internal::tick_of(now);
  if (ended != tick_ && turned_) slow_turns_.note(tick_, ended);
}

void EventLoop::run() {
  check_owner("EventLoop::run");
  WEIR_CHECK(!forked(), "EventLoop::run in a child of fork(): it may only destroy the loop");
  WEIR_CHECK(!running_, "EventLoop::run called from inside EventLoop::run");
  struct Running {
    EventLoop& loop;
    const internal::CurrentLoop current;
    explicit Running(EventLoop& on) : loop(on), current(*on.mailbox_) { loop.running_ = true; }
    ~Running() {
      loop.end_tick(sys::now());
      loop.running_ = loop.turned_ = false;
      loop.watch_.rest();
    }
  } const running(*this);
  while (!stop_.load(std::memory_order_acquire)) turn();
  stop_.store(false, std::memory_order_release);
}

// run() may return, and the loop be destroyed, as soon as stop_ is set.
void EventLoop::stop() {
  const std::shared_ptr<internal::Mailbox> mailbox = mailbox_;
  stop_.store(true, std::memory_order_release);
  if (!mailbox->in_loop_thread()) mailbox->wake();
}

bool EventLoop::post(Task task) {
  if (in_loop_thread()) return mailbox_->post(std::move(task));
  // The task may end the loop before the call that posted it is back.
  const std::shared_ptr<internal::Mailbox> mailbox = mailbox_;
  return mailbox->post(std::move(task));
}

bool EventLoop::dispatch(Task task) {
  if (!in_loop_thread()) return post(std::move(task));
  task();
  return true;
}

TimerId EventLoop::run_at(TimePoint when, Task task) {
  check_thread("EventLoop::run_at");
  return timers_.schedule(when, Duration::zero(), std::move(task));
}

TimerId EventLoop::run_after(Duration delay, Task task) {
  check_thread("EventLoop::run_after");
  return timers_.schedule(saturating_add(sys::now(), delay), Duration::zero(), std::move(task));
}

TimerId EventLoop::run_every(Duration period, Task task) {
  check_thread("EventLoop::run_every");
  WEIR_CHECK(period > Duration::zero(), "EventLoop::run_every with a period of {} ns",
             period.count());
  return timers_.schedule(saturating_add(sys::now(), period), period, std::move(task));
}

bool EventLoop::cancel(TimerId id) {
  check_thread("EventLoop::cancel");
  return timers_.cancel(id);
}

TimePoint EventLoop::now() const {
  check_thread("EventLoop::now");
  return running_ ? now_ : sys::now();
}

std::uint64_t EventLoop::backlog() const {
  const std::uint64_t begun = counters_.tasks.value();  // first, so that it is the smaller one
  const std::uint64_t posted = mailbox_->posted();
  return posted > begun ? posted - begun : 0;
}

// Also from inside a turn of another loop.
void EventLoop::check_owner(const char* call) const {
  if (!mailbox_->belongs_to_this_thread()) wrong_thread(call);
}

void EventLoop::wrong_thread(const char* call) {
  internal::check_failed(
      __FILE__, __LINE__, "in_loop_thread()",
      internal::check_message(
          "{} called from a thread that is not the loop's, or inside a turn of another "
          "loop; use EventLoop::post or a ConnectionRef",
          call));
}

IoHandler* EventLoop::find_handler(SlotId id) {
  Channel** channel = channels_.find(id);
  return channel == nullptr ? nullptr : (*channel)->handler_;
}

std::span<std::byte> EventLoop::receive_block() {
  // A read into nothing would look like the end of the stream.
  const std::size_t size = std::max<std::size_t>(options_.receive_block, 1);
  if (!receive_block_) receive_block_ = internal::make_aligned_bytes(size, internal::kPage);
  return {receive_block_.get(), size};
}

// With room in the list of changes for all that may be changed before it is committed: a change of
// interest needs no memory.
SlotId EventLoop::attach(Channel& channel) {
  const std::size_t room = to_commit_.size() + channels_.size() + 1;
  if (to_commit_.capacity() < room) to_commit_.reserve(2 * room);
  return channels_.insert(&channel);
}

void EventLoop::detach(Channel& channel) {
  poller_.remove(channel);
  counters_.commits.set(poller_.control_calls());
  channels_.erase(channel.id_);
  channel.removed_ = true;
  ++detached_;
}

void EventLoop::interest_changed(Channel& channel) {
  if (channel.commit_queued_) return;
  to_commit_.push_back(channel.id_);
  channel.commit_queued_ = true;
}

void EventLoop::turn() {
  ++counters_.turns;
  if (ready_.empty() && requeued_next_ == requeued_now_.size()) {  // else an exception left them
    commit_interest();
    wait();
  } else if (!turned_) {  // run() goes on there, whatever time has passed
    now_ = sys::now();
    tick_ = internal::tick_of(now_);
    turned_ = true;
  }
  watch_.begin();
  dispatch_ready();
  expire_timers();
  run_tasks();
  flush();
  reap();
  watch_.rest();
}

// 1. What changed back in the meantime costs nothing. A refusal is the channel's, not the loop's,
// and what its handler changes then waits for the next turn.
void EventLoop::commit_interest() {
  if (rebuild_wanted_) rebuild_epoll();
  const std::size_t count = to_commit_.size();
  for (std::size_t i = 0; i < count; ++i) {
    Channel** found = channels_.find(to_commit_[i]);
    if (found == nullptr) continue;
    Channel& channel = **found;
    channel.commit_queued_ = false;
    if (auto committed = poller_.commit(channel); !committed) {
      channel.wanted_ &=
          static_cast<std::uint8_t>(~(Channel::kRead | Channel::kWrite | Channel::kErrors));
      channel.handler_->on_interest_refused(committed.error());
    }
  }
  to_commit_.erase(to_commit_.begin(), to_commit_.begin() + static_cast<std::ptrdiff_t>(count));
  counters_.commits.set(poller_.control_calls());
}

bool EventLoop::has_work() const {
  return !to_commit_.empty() || !requeued_.empty() || task_next_ < tasks_.size() ||
         !to_flush_.empty() || !flushing_.empty() || has_dead() || !graveyard_.empty() ||
         stop_.load(std::memory_order_acquire);
}

// How long phase 2 may sleep: not at all with work at hand, else to the next deadline.
Duration EventLoop::time_to_wait() {
  const TimePoint now = sys::now();
  counters_.busy_ns.add(nanoseconds(now - now_));
  end_tick(now);
  note_turn(now - now_);
  now_ = now;
  if (has_work()) return Duration::zero();
  TimePoint earliest = TimePoint::max();
  if (const auto timer = timers_.next()) earliest = *timer;
  if (const auto deadline = idle_wheel_.next()) earliest = std::min(earliest, *deadline);
  if (earliest == TimePoint::max()) return Duration(-1);
  return earliest <= now ? Duration::zero() : earliest - now;
}

// By the clock that the loop reads anyway.
void EventLoop::note_turn(Duration took) {
  if (!std::exchange(turned_, false)) return;  // was counted, or includes time outside run()
  const auto width = std::bit_width(nanoseconds(std::max(took, Duration::zero())));
  const std::size_t bucket = width > kTurnUnitBits ? width - kTurnUnitBits : 0;
  ++counters_.turn_times[std::min(bucket, kTurnBuckets - 1)];
}

// 2.
void EventLoop::wait() {
  Duration timeout = time_to_wait();
  if (mailbox_->prepare_to_wait()) timeout = Duration::zero();
  detached_at_wait_ = detached_;
  const TimePoint before = now_;
  auto ready = poller_.wait(timeout);
  mailbox_->woke_up();
  const TimePoint now = sys::now();
  if (timeout == Duration::zero()) {  // not asleep
    counters_.busy_ns.add(nanoseconds(now - now_));
    note_turn(now - now_);
  } else {
    watch_.slept();
  }
  turned_ = true;
  now_ = now;
  tick_ = internal::tick_of(now);
  if (ready) {
    ready_ = *ready;
    note_look(before, timeout);
  } else if (!(ready.error() == EINTR)) {
    throw SystemError(Error("wait for events: epoll_wait", ready.error()));
  }
}

// A batch that is not full holds everything that was ready `before` the wait. A full one may not;
// but epoll reports ready descriptors in turn, so once as many events as there are channels have
// been taken, everything that was ready before the first of these batches was among them.
void EventLoop::note_look(TimePoint before, Duration timeout) {
  const std::size_t found = ready_.size();
  if (found == 0 && timeout > Duration::zero()) {  // nothing was ready at the end of the sleep
    before = std::min(now_, saturating_add(before, timeout));
  }
  timers_until_ = before;
  if (found < EpollPoller::kMaxEventsPerTurn && look_events_ == 0) [[likely]] {
    deadlines_until_ = before;
    return;
  }
  if (look_events_ == 0) look_began_ = before;
  look_events_ += found;
  if (found == EpollPoller::kMaxEventsPerTurn && look_events_ < channels_.size()) return;
  deadlines_until_ = look_began_;
  look_events_ = 0;
}

// 3. epoll's batch first, then what asked before it to be looked at again without a new event. What
// asks during the batch waits for the next turn, or its budget would be spent twice in this one.
void EventLoop::dispatch_ready() {
  if (requeued_next_ == requeued_now_.size()) {
    requeued_now_.clear();
    requeued_next_ = 0;
    requeued_now_.swap(requeued_);
  }
  while (!ready_.empty()) {
    const epoll_event& event = ready_.front();
    ready_ = ready_.subspan(1);
    dispatch_event(SlotId::from_u64(event.data.u64), event.events);
  }
  while (requeued_next_ < requeued_now_.size()) {
    if (Channel** channel = channels_.find(requeued_now_[requeued_next_++])) {
      dispatch(**channel, std::exchange((*channel)->requeued_, 0));
    } else {
      ++counters_.spurious;  // removed since it was asked for
    }
  }
}

void EventLoop::requeue(Channel& channel, std::uint32_t events) {
  if (channel.removed()) return;
  if (channel.requeued_ == 0) requeued_.push_back(channel.id_);
  channel.requeued_ |= events;
}

inline void EventLoop::dispatch(Channel& channel, std::uint32_t events) {
  ++counters_.events;
  watch_.enter(internal::Activity::channel, static_cast<std::uint64_t>(channel.fd_));
  channel.handler_->on_ready(events);
  watch_.leave();
}

void EventLoop::dispatch_event(SlotId id, std::uint32_t events) {
  if (Channel** channel = channels_.find(id)) [[likely]] {
    dispatch(**channel, events);
    return;
  }
  if (detached_ != detached_at_wait_) {
    ++counters_.spurious;  // removed by one that was dispatched before it
    return;
  }
  // The kernel still holds a registration whose channel went before this batch was taken: its
  // descriptor was closed first while a dup or a fork kept the file open. The number is of no use
  // any more, so only a new epoll set gets rid of it.
  ++counters_.unknown;
  rebuild_wanted_ = true;
}

void EventLoop::rebuild_epoll() {
  rebuild_wanted_ = false;
  if (auto reopened = poller_.reopen(); !reopened) {
    WEIR_LOG_LIMITED(error, 1, "make a new epoll set: epoll_create1: {}",
                     reopened.error().message());
    rebuild_wanted_ = true;
    std::this_thread::sleep_for(kRebuildPause);
    return;
  }
  WEIR_LOG_LIMITED(
      warn, 1,
      "a closed descriptor was still in epoll (duplicated or inherited by a fork): made a "
      "new epoll set");
  look_events_ = 0;  // the new set has an order of its own
  channels_.for_each([this](SlotId, Channel*& channel) {
    channel->registered_ = false;
    channel->committed_ = 0;
    interest_changed(*channel);
  });
}

// 4. An interrupted wait has reported nothing, so no time passes for these.
void EventLoop::expire_timers() {
  timers_.expire(timers_until_, &watch_, &counters_.timers);
  idle_wheel_.expire(deadlines_until_, &watch_);
}

// 5.
void EventLoop::run_tasks() {
  if (task_next_ == tasks_.size()) {
    if (!mailbox_->has_posts()) return;
    tasks_.clear();
    task_next_ = 0;
    mailbox_->take(tasks_);
  }
  const std::size_t end = std::min(tasks_.size(), task_next_ + kMaxTasksPerTurn);
  while (task_next_ < end) {
    ++counters_.tasks;
    Task task = std::move(tasks_[task_next_++]);
    watch_.enter(internal::Activity::task);
    task();
    watch_.leave();
  }
  if (task_next_ == tasks_.size() && tasks_.capacity() > kKeptTasks) {  // a storm is over
    tasks_ = std::vector<Task>();
    task_next_ = 0;
  }
}

// 6.
void EventLoop::flush() {
  flushing_.splice(to_flush_);
  while (internal::LoopClient* client = flushing_.pop()) {
    watch_.enter(internal::Activity::flush);
    client->on_flush();
    watch_.leave();
  }
}

std::size_t EventLoop::count_dead() {
  return static_cast<std::size_t>(std::distance(reaping_.begin(), reaping_.end()) +
                                  std::distance(to_reap_.begin(), to_reap_.end()));
}

void EventLoop::reap_again(internal::LoopClient& client) {
  to_reap_.push_back(client);
  dead_before_buried_ = count_dead();
}

// 7. Clients may have more clients die; those wait for the next turn. What is kept goes when the
// clients that were dead by then have gone, in however many turns, and whoever has died since.
void EventLoop::reap() {
  reaping_.splice(to_reap_);
  for (std::size_t reaped = 0; reaped < kMaxReapedPerTurn; ++reaped) {
    internal::LoopClient* const client = reaping_.pop_front();
    if (client == nullptr) break;
    if (dead_before_buried_ > 0) --dead_before_buried_;
    watch_.enter(internal::Activity::reap);
    client->on_reap();
    watch_.leave();
  }
  if (dead_before_buried_ > 0 && has_dead()) return;
  dead_before_buried_ = 0;
  if (buried_.empty() && !graveyard_.empty()) {
    buried_.swap(graveyard_);
    dead_before_buried_ = count_dead();
  }
  if (dead_before_buried_ > 0 || buried_.empty()) return;
  watch_.enter(internal::Activity::reap);
  std::vector<std::shared_ptr<void>>().swap(buried_);
  watch_.leave();
}

}  // namespace weir
