// Timers and posted tasks.
#include <chrono>
#include <deque>

#include "sim/part.h"

namespace weir::test::simulation {
namespace {

// No timer is early, lost or twice; a cancelled one does not run.
class Timers final : public Part {
 public:
  explicit Timers(Setting setting) : setting_(std::move(setting)) {
    for (std::size_t i = 0; i < 8 * setting_.plan.messages; ++i) set(setting_.any_loop());
  }

  ~Timers() override {
    for (Timer& timer : timers_) timer.loop->cancel(timer.id);
  }

  bool done() override {
    for (const Timer& timer : timers_) {
      if (timer.runs == 0 && !timer.cancelled) return false;
    }
    return true;
  }

  void check() override {
    for (const Timer& timer : timers_) {
      const int expected = timer.cancelled ? 0 : 1;
      setting_.verdict.expect(timer.runs == expected, "a timer ran {} times, not {}", timer.runs,
                              expected);
    }
  }

 private:
  static constexpr std::int64_t kLongest = 2'000'000'000;  // ns

  struct Timer {
    EventLoop* loop;
    TimerId id;
    Duration due{};  // of the world
    int runs = 0;
    bool cancelled = false;
  };

  void set(EventLoop& loop) {
    Timer& timer = timers_.emplace_back();
    timer.loop = &loop;
    const auto most = static_cast<std::uint64_t>(kLongest) >> setting_.world.random(20);
    const Duration delay(static_cast<std::int64_t>(setting_.world.random(most)));
    timer.due = setting_.world.elapsed() + delay;
    timer.id = loop.run_after(delay, [this, &timer] { run(timer); });
  }

  void run(Timer& timer) {
    setting_.verdict.expect(setting_.world.elapsed() >= timer.due, "a timer ran early");
    ++timer.runs;
    Timer& other = timers_[setting_.world.random(timers_.size())];
    if (other.loop != timer.loop || !setting_.world.chance(0.5)) return;
    const bool pending = other.runs == 0 && !other.cancelled;
    const bool cancelled = timer.loop->cancel(other.id);
    setting_.verdict.expect(cancelled == pending, "cancel() returned {} for a timer that {}",
                            cancelled, pending ? "was pending" : "was not pending");
    other.cancelled |= cancelled;
    if (cancelled) set(*timer.loop);
  }

  Setting setting_;
  std::deque<Timer> timers_;  // their addresses stay
};

// Tasks that one loop posts to another run there in order, each once.
class Posts final : public Part {
 public:
  explicit Posts(Setting setting) : setting_(std::move(setting)) {
    for (std::size_t i = 0; i < setting_.plan.clients; ++i) {
      Pair& pair = pairs_.emplace_back();
      pair.from = &setting_.any_loop();
      pair.to = &setting_.any_loop();
      pair.total = 10 * setting_.plan.messages;
      pair.from->post([this, &pair] { post(pair); });
    }
  }

  bool done() override {
    for (const Pair& pair : pairs_) {
      if (pair.ran < pair.total) return false;
    }
    return true;
  }
  void check() override {}

 private:
  struct Pair {
    EventLoop* from;
    EventLoop* to;
    std::size_t total = 0;
    std::size_t posted = 0;
    std::size_t ran = 0;
  };

  // A few at a time: after them the receiver asks for more.
  void post(Pair& pair) {
    const std::size_t count = std::min(1 + setting_.world.random(5), pair.total - pair.posted);
    for (std::size_t i = 0; i < count; ++i) {
      const bool last = i + 1 == count;
      const bool accepted = pair.to->post([this, &pair, number = pair.posted++, last] {
        setting_.verdict.expect(pair.to->in_loop_thread(), "a task ran on the wrong loop");
        setting_.verdict.expect(number == pair.ran, "task {} ran as number {}", number, pair.ran);
        ++pair.ran;
        if (last && pair.posted < pair.total) pair.from->post([this, &pair] { post(pair); });
      });
      setting_.verdict.expect(accepted, "a loop that runs refused a task");
    }
  }

  Setting setting_;
  std::deque<Pair> pairs_;  // their addresses stay
};

}  // namespace

std::unique_ptr<Part> make_timers(const Setting& setting) {
  return std::make_unique<Timers>(setting);
}

std::unique_ptr<Part> make_posts(const Setting& setting) {
  return std::make_unique<Posts>(setting);
}

}  // namespace weir::test::simulation
