// The public functions of a loop. The implementation is in internal/loop_core.cc.
#include "weir/net/reactor/event_loop.h"

#include <cerrno>
#include <new>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"

namespace weir {

namespace sys = internal::sys;

namespace {

// For a constructor, which can report an error only by an exception.
template <typename T>
T value_or_throw(Result<T> result) {
  if (!result) throw SystemError(std::move(result.error()));
  return std::move(*result);
}

}  // namespace

EventLoop::EventLoop(Options options)
    : core_(std::make_unique<internal::LoopCore>(*this, options,
                                                 value_or_throw(internal::EpollPoller::create()),
                                                 value_or_throw(internal::Waker::create()))) {}

Result<std::unique_ptr<EventLoop>> EventLoop::create(Options options) {
  try {
    return std::make_unique<EventLoop>(options);
  } catch (const SystemError& failure) {
    return std::unexpected(failure.error());
  } catch (const std::bad_alloc&) {
    return std::unexpected(Error("create an event loop", Errno(ENOMEM)));
  }
}

EventLoop::~EventLoop() { core_->end(); }

void EventLoop::run() { core_->run(); }

bool EventLoop::turn(Duration max_wait) { return core_->turn(max_wait); }

Duration EventLoop::max_wait() { return core_->max_wait(); }

int EventLoop::poll_fd() { return core_->poll_fd(); }

void EventLoop::stop() { core_->stop(); }

bool EventLoop::post(Task task) {
  if (in_loop_thread()) return core_->mailbox()->post(std::move(task));
  // The task may destroy the loop before this call returns.
  const std::shared_ptr<internal::Mailbox> mailbox = core_->mailbox();
  return mailbox->post(std::move(task));
}

bool EventLoop::dispatch(Task task) {
  if (!in_loop_thread()) return post(std::move(task));
  task();
  return true;
}

TimerId EventLoop::run_at(TimePoint when, Task task) {
  core_->check_thread("EventLoop::run_at");
  return core_->timers().schedule(when, Duration::zero(), std::move(task));
}

TimerId EventLoop::run_after(Duration delay, Task task) {
  core_->check_thread("EventLoop::run_after");
  const TimePoint when = saturating_add(sys::now(), delay);
  return core_->timers().schedule(when, Duration::zero(), std::move(task));
}

TimerId EventLoop::run_every(Duration period, Task task) {
  core_->check_thread("EventLoop::run_every");
  WEIR_CHECK(period > Duration::zero(), "EventLoop::run_every with a period of {} ns",
             period.count());
  const TimePoint first = saturating_add(sys::now(), period);
  return core_->timers().schedule(first, period, std::move(task));
}

bool EventLoop::cancel(TimerId id) {
  core_->check_thread("EventLoop::cancel");
  return core_->timers().cancel(id);
}

TimePoint EventLoop::now() const {
  core_->check_thread("EventLoop::now");
  return core_->now();
}

bool EventLoop::in_loop_thread() const { return core_->mailbox()->in_loop_thread(); }

EventLoop::Stats EventLoop::stats() const { return core_->stats(); }

std::uint64_t EventLoop::backlog() const { return core_->backlog(); }

bool EventLoop::forked() const { return core_->forked(); }

void* EventLoop::find_local(TypeId type) const {
  core_->check_thread("EventLoop::local");
  return core_->find_local(type);
}

void* EventLoop::keep_local(TypeId type, std::shared_ptr<void> object) {
  return core_->keep_local(type, std::move(object));
}

}  // namespace weir
