// The turn (the numbers are those of docs/loop.md):
//
//   1 commit interest -> 2 wait -> 3 dispatch ready channels -> 4 expire timers and deadlines
//   ^                                                                      |
//   +---- 7 reap closed clients <- 6 flush output that was queued <- 5 run posted tasks
//
// Phases 3 to 7 process snapshots, so a task or timer that queues itself again waits for the next
// turn. They call code that may throw. Each phase keeps its position in members, so that the next
// run() continues after the call that threw.
#include "weir/net/reactor/internal/loop_core.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <thread>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/log_line.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

// Empties the eventfd when another thread's post ended the wait.
class LoopCore::WakeupHandler final : public IoHandler {
 public:
  explicit WakeupHandler(LoopCore& core)
      : core_(core), channel_(core, core.mailbox_->waker().fd(), *this, Trigger::level) {
    channel_.set_reading(true);
  }

 private:
  void on_ready(std::uint32_t) override {
    ++core_.counters_.wakeups;
    core_.mailbox_->waker().drain();
  }
  // Either in the constructor of the loop, or by a new epoll set (rebuild_epoll). Then each turn
  // tries again, and does not sleep, because an interest is to be committed.
  void on_interest_refused(Errno error) override {
    Error refused("watch the loop's eventfd: epoll_ctl", error);
    if (core_.turns() == 0) throw SystemError(std::move(refused));
    WEIR_LOG_LIMITED(error, 1, "{}", refused.message());
    channel_.set_reading(true);
    std::this_thread::sleep_for(kRebuildPause);
  }

  LoopCore& core_;
  Channel channel_;
};

namespace {

std::uint64_t nanoseconds(Duration d) { return static_cast<std::uint64_t>(d.count()); }

}  // namespace

LoopCore::LoopCore(EventLoop& loop, const EventLoop::Options& options, EpollPoller poller,
                   Waker waker)
    : loop_(loop),
      options_(options),
      mailbox_(std::make_shared<Mailbox>(*this, std::move(waker))),
      poller_(std::move(poller)),
      idle_wheel_(sys::now()),
      clock_(sys::now()),
      watch_(options.stall_threshold, options.stall_stacks) {
  const CurrentLoop current(*mailbox_);
  wakeup_handler_ = std::make_unique<WakeupHandler>(*this);
  try {
    commit_interest();
  } catch (...) {
    wakeup_handler_.reset();  // while this is the current loop
    throw;
  }
}

LoopCore::~LoopCore() = default;

// Called before the destructor, so that the functions called here still find a complete loop.
void LoopCore::end() {
  check_owner("EventLoop::~EventLoop");
  WEIR_CHECK(!running_,
             "EventLoop destroyed inside its own run(): call stop() and destroy it later");
  const CurrentLoop current(*mailbox_);
  std::vector<Task> left = std::move(tasks_);
  left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(task_next_));
  mailbox_->close();  // destroys what was posted
  left.clear();
  watch_.begin();
  end_clients();
  while (!locals_.empty()) {
    {
      const std::shared_ptr<void> last = std::move(locals_.back().object);
      locals_.pop_back();
    }
    end_clients();  // those of the object
  }
  watch_.rest();
  wakeup_handler_.reset();
  WEIR_CHECK(
      channels_.empty(),
      "EventLoop destroyed while {} channels are still on it: destroy servers, clients, signal "
      "sets and channels first",
      channels_.size());
}

void LoopCore::end_clients() {
  do {
    // timers_ is valid before the tasks are destroyed: their destructors may set and cancel timers.
    static_cast<void>(std::exchange(timers_, TimerQueue()));
    flush();
    reap();
  } while (timers_.size() > 0 || !reap_list_.empty());
}

// Exists during a run() or a turn(): makes this the current loop of its thread.
class LoopCore::Running {
 public:
  explicit Running(LoopCore& core) : core_(core), current_(*core.mailbox_) {
    core.running_ = true;
    core.clock_.skip_to(sys::now());
  }
  ~Running() {
    core_.end_turn();
    core_.running_ = false;
    core_.watch_.rest();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  LoopCore& core_;
  const CurrentLoop current_;
};

void LoopCore::run() {
  check_may_run("EventLoop::run");
  const Running running(*this);
  while (!stop_.load(std::memory_order_acquire)) run_phases(Duration::max());
  stop_.store(false, std::memory_order_release);
}

bool LoopCore::turn(Duration max_wait) {
  check_may_run("EventLoop::turn");
  const Running running(*this);
  watch_.slept();  // outside this call
  run_phases(std::max(max_wait, Duration::zero()));
  commit_interest();  // the descriptor is polled before the next turn
  return !stop_.exchange(false, std::memory_order_acq_rel);
}

void LoopCore::check_may_run(const char* call) const {
  check_owner(call);
  WEIR_CHECK(!forked(), "{} in a child of fork(): it may only destroy the loop", call);
  WEIR_CHECK(!running_, "{} called from inside EventLoop::run or turn", call);
}

// Until the next turn the mailbox assumes that the loop waits, so that a post wakes the poll.
Duration LoopCore::max_wait() {
  check_thread("EventLoop::max_wait");
  if (mailbox_->prepare_to_wait() || !ready_.empty() || requeued_next_ < requeued_now_.size()) {
    return Duration::zero();
  }
  return time_to_wait(sys::now());
}

int LoopCore::poll_fd() {
  check_thread("EventLoop::poll_fd");
  auto fd = poller_.outer_fd();
  if (!fd) throw SystemError(Error("poll an event loop: epoll_create1 or epoll_ctl", fd.error()));
  return *fd;
}

// run() may return, and the loop be destroyed, as soon as stop_ is set.
void LoopCore::stop() {
  const std::shared_ptr<Mailbox> mailbox = mailbox_;
  stop_.store(true, std::memory_order_release);
  if (!mailbox->in_loop_thread()) mailbox->wake();
}

TimePoint LoopCore::now() const { return running_ ? clock_.now() : sys::now(); }

std::uint64_t LoopCore::backlog() const {
  const std::uint64_t begun = counters_.tasks.value();  // read first: then it is the smaller one
  const std::uint64_t posted = mailbox_->posted();
  return posted > begun ? posted - begun : 0;
}

// The check outside the turns of this loop.
void LoopCore::check_thread_outside(const char* call) const {
  if (!mailbox_->in_loop_thread()) wrong_thread(call);
}

void LoopCore::wrong_thread(const char* call) const {
  const char* const where = mailbox_->belongs_to_this_thread() ? "inside a turn of another loop"
                                                               : "a thread that is not the loop's";
  check_failed(
      __FILE__, __LINE__, "in_loop_thread()",
      check_message("{} called from {}; use EventLoop::post or a ConnectionRef", call, where));
}

void* LoopCore::find_local(TypeId type) const {
  const auto found = std::ranges::find(locals_, type, &Local::type);
  return found == locals_.end() ? nullptr : found->object.get();
}

void* LoopCore::keep_local(TypeId type, std::shared_ptr<void> object) {
  return locals_.emplace_back(type, std::move(object)).object.get();
}

IoHandler* LoopCore::find_handler(SlotId id) {
  Channel** channel = channels_.find(id);
  return channel == nullptr ? nullptr : (*channel)->handler_;
}

std::span<std::byte> LoopCore::receive_block() {
  // A read of 0 bytes would look like the end of the stream.
  const std::size_t size = std::max<std::size_t>(options_.receive_block, 1);
  if (!receive_block_) receive_block_ = make_aligned_bytes(size, kPage);
  return {receive_block_.get(), size};
}

// Reserves room in to_commit_ for all channels, so that interest_changed() needs no memory.
SlotId LoopCore::attach(Channel& channel) {
  const std::size_t room = to_commit_.size() + channels_.size() + 1;
  if (to_commit_.capacity() < room) to_commit_.reserve(2 * room);
  return channels_.insert(&channel);
}

void LoopCore::detach(Channel& channel) {
  poller_.remove(channel);
  counters_.commits.set(poller_.control_calls());
  channels_.erase(channel.id_);
  channel.removed_ = true;
  ++detached_;
}

void LoopCore::interest_changed(Channel& channel) {
  if (channel.commit_queued_) return;
  to_commit_.push_back(channel.id_);
  channel.commit_queued_ = true;
}

void LoopCore::run_phases(Duration max_wait) {
  ++counters_.turns;
  if (ready_.empty() && requeued_next_ == requeued_now_.size()) {
    commit_interest();
    wait(max_wait);
  } else if (!clock_.in_turn()) {  // continues the turn that an exception interrupted
    clock_.wake(sys::now());
  }
  watch_.begin();
  dispatch_ready();
  expire_timers();
  run_tasks();
  flush();
  reap();
  watch_.rest();
}

// 1. An interest that changed back costs no call. A refusal is reported to the channel's handler;
// the changes that this handler makes wait for the next turn.
void LoopCore::commit_interest() {
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

bool LoopCore::has_work() const {
  return !to_commit_.empty() || !requeued_.empty() || task_next_ < tasks_.size() ||
         !to_flush_.empty() || !flushing_.empty() || reap_list_.has_work() ||
         stop_.load(std::memory_order_acquire);
}

// Zero with work pending, else the time to the next deadline; Duration::max(): there is none.
Duration LoopCore::time_to_wait(TimePoint now) {
  if (has_work()) return Duration::zero();
  TimePoint earliest = TimePoint::max();
  if (const auto timer = timers_.next()) earliest = *timer;
  if (const auto deadline = idle_wheel_.next()) earliest = std::min(earliest, *deadline);
  if (earliest == TimePoint::max()) return Duration::max();
  return earliest <= now ? Duration::zero() : earliest - now;
}

// Reads the clock once; wait() uses this time, too.
void LoopCore::end_turn() {
  const bool turned = clock_.in_turn();
  const Duration took = clock_.end(sys::now());
  counters_.busy_ns.add(nanoseconds(took));
  if (!turned) return;  // an exception left run() before the wait
  const auto width = std::bit_width(nanoseconds(std::max(took, Duration::zero())));
  constexpr std::size_t kUnit = EventLoop::kTurnUnitBits;
  const std::size_t bucket = width > kUnit ? width - kUnit : 0;
  ++counters_.turn_times[std::min(bucket, EventLoop::kTurnBuckets - 1)];
}

// 2.
void LoopCore::wait(Duration max_wait) {
  end_turn();
  Duration timeout = std::min(time_to_wait(clock_.now()), max_wait);
  if (mailbox_->prepare_to_wait()) timeout = Duration::zero();
  detached_at_wait_ = detached_;
  const TimePoint before = clock_.now();
  auto ready = poller_.wait(timeout);
  mailbox_->woke_up();
  const TimePoint now = sys::now();
  if (timeout == Duration::zero()) {  // it did not sleep
    counters_.busy_ns.add(nanoseconds(now - before));
  } else {
    watch_.slept();
  }
  clock_.wake(now);
  if (ready) {
    ready_ = *ready;
    clock_.polled(before, timeout, ready_.size(), ready_.size() == EpollPoller::kMaxEventsPerTurn,
                  channels_.size());
  } else if (!(ready.error() == EINTR)) {
    throw SystemError(Error("wait for events: epoll_wait", ready.error()));
  }
}

// 3. First the batch of epoll, then the channels that were requeued before it. Channels that are
// requeued during the batch wait for the next turn, or they would use their budget twice in this
// one.
void LoopCore::dispatch_ready() {
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
      ++counters_.spurious;  // removed since it was requeued
    }
  }
}

void LoopCore::requeue(Channel& channel, std::uint32_t events) {
  if (channel.removed()) return;
  if (channel.requeued_ == 0) requeued_.push_back(channel.id_);
  channel.requeued_ = static_cast<std::uint8_t>(channel.requeued_ | events);
}

inline void LoopCore::dispatch(Channel& channel, std::uint32_t events) {
  ++counters_.events;
  watch_.enter(Activity::channel, static_cast<std::uint64_t>(channel.fd_));
  channel.handler_->on_ready(events);
  watch_.leave();
}

void LoopCore::dispatch_event(SlotId id, std::uint32_t events) {
  if (Channel** channel = channels_.find(id)) [[likely]] {
    dispatch(**channel, events);
    return;
  }
  if (detached_ != detached_at_wait_) {
    ++counters_.spurious;  // removed by a handler that was called before
    return;
  }
  // The kernel still has a registration whose channel was removed before this batch was taken: its
  // descriptor was closed first, while a dup or a fork kept the file open. EPOLL_CTL_DEL would need
  // the closed descriptor, so only a new epoll set removes the registration.
  ++counters_.unknown;
  rebuild_wanted_ = true;
}

void LoopCore::rebuild_epoll() {
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
  clock_.order_changed();
  channels_.for_each([this](SlotId, Channel*& channel) {
    channel->committed_ = 0;
    interest_changed(*channel);
  });
}

// 4. An interrupted wait has reported no events, so timers_until() and deadlines_until() then keep
// their values.
void LoopCore::expire_timers() {
  timers_.expire(clock_.timers_until(), &watch_, &counters_.timers);
  idle_wheel_.expire(clock_.deadlines_until(), &watch_);
}

// 5.
void LoopCore::run_tasks() {
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
    watch_.enter(Activity::task);
    task();
    watch_.leave();
  }
  if (task_next_ == tasks_.size() && tasks_.capacity() > kKeptTasks) {  // after a burst
    tasks_ = std::vector<Task>();
    task_next_ = 0;
  }
}

// 6.
void LoopCore::flush() {
  flushing_.splice(to_flush_);
  while (FlushClient* client = flushing_.pop()) {
    watch_.enter(Activity::flush);
    client->on_flush();
    watch_.leave();
  }
}

}  // namespace weir::internal
