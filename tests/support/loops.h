// Driving an EventLoop from a test. [loop] unless marked.
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <type_traits>
#include <utility>

#include "weir/net/reactor/event_loop.h"

namespace weir::test {

inline constexpr std::chrono::seconds kDeadline{5};

// Runs the loop until `done` returns true; false after the deadline. `done` is called before, every
// millisecond, and at the end. A stop() by the test ends it early.
[[nodiscard]] bool run_until(EventLoop& loop, const std::function<bool()>& done,
                             Duration deadline = kDeadline);
// Runs the loop for a time.
void run_for(EventLoop& loop, Duration time);
// One turn that does not sleep: it serves once all that is ready, due or posted.
void run_turn(EventLoop& loop);
void run_turns(EventLoop& loop, int n);

// Calls `fn` on a new thread, waits for it, and returns its result. [any]
template <typename Fn>
auto on_other_thread(Fn&& fn) {
  using Answer = std::invoke_result_t<Fn>;
  if constexpr (std::is_void_v<Answer>) {
    std::thread(std::forward<Fn>(fn)).join();
  } else {
    Answer answer{};
    std::thread([&] { answer = fn(); }).join();
    return answer;
  }
}

// Calls `done` repeatedly, on this thread, until it returns true; false after the deadline. [any]
[[nodiscard]] bool wait_until(const std::function<bool()>& done, Duration deadline = kDeadline);

}  // namespace weir::test
