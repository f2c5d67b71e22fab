#include "support/loops.h"

namespace weir::test {
namespace {

// Cancels its timer also when run() throws.
class ScopedTimer {
 public:
  ScopedTimer(EventLoop& loop, TimerId id) : loop_(loop), id_(id) {}
  ~ScopedTimer() { loop_.cancel(id_); }
  ScopedTimer(const ScopedTimer&) = delete;
  ScopedTimer& operator=(const ScopedTimer&) = delete;

 private:
  EventLoop& loop_;
  TimerId id_;
};

}  // namespace

bool run_until(EventLoop& loop, const std::function<bool()>& done, Duration deadline) {
  if (done()) return true;
  const TimePoint end = saturating_add(Clock::now(), deadline);
  const ScopedTimer poll(loop, loop.run_every(std::chrono::milliseconds(1), [&] {
    if (done() || Clock::now() >= end) loop.stop();
  }));
  loop.run();
  return done();
}

void run_for(EventLoop& loop, Duration time) {
  const ScopedTimer end(loop, loop.run_after(time, [&] { loop.stop(); }));
  loop.run();
}

void run_turn(EventLoop& loop) {
  loop.post([&loop] { loop.stop(); });
  loop.run();
}

void run_turns(EventLoop& loop, int n) {
  for (int i = 0; i < n; ++i) run_turn(loop);
}

bool wait_until(const std::function<bool()>& done, Duration deadline) {
  const TimePoint end = saturating_add(Clock::now(), deadline);
  while (!done()) {
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace weir::test
