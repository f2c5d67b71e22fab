#include "weir/net/reactor/run_on.h"

#include <exception>
#include <future>

namespace weir::internal {

void run_on(EventLoop& loop, std::move_only_function<void()> fn) {
  if (loop.in_loop_thread()) {
    fn();
    return;
  }
  std::promise<void> done;
  loop.post([&] {
    try {
      fn();
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  done.get_future().get();
}

}  // namespace weir::internal
