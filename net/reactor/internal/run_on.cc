#include "weir/net/reactor/internal/run_on.h"

#include <cerrno>
#include <exception>
#include <future>
#include <utility>

#include "weir/net/reactor/internal/loop_core.h"

namespace weir::internal {

bool try_run_on(EventLoop& loop, std::move_only_function<void()> fn) {
  if (core_of(loop).mailbox()->belongs_to_this_thread()) {  // it would wait for itself
    const CurrentLoop current(*core_of(loop).mailbox());
    fn();
    return true;
  }
  bool ran = false;
  std::promise<void> done;
  std::future<void> answer = done.get_future();
  // The task owns the promise. If the task is destroyed without having run, the broken promise ends
  // the wait, too.
  loop.post([&fn, &ran, done = std::move(done)]() mutable {
    ran = true;
    try {
      fn();
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  answer.wait();
  if (!ran) return false;
  answer.get();
  return true;
}

void run_on(EventLoop& loop, std::move_only_function<void()> fn) {
  if (!try_run_on(loop, std::move(fn))) {
    throw SystemError(Error("call into a loop that has ended", Errno(ECANCELED)));
  }
}

}  // namespace weir::internal
