// A script of channels, timers and tasks of an EventLoop on a kernel in memory. Each callback takes
// its next step from the script: it changes, removes and adds others, or throws. The kernel reports
// what the script says, stale and unknown identities too.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fuzz/memory_kernel.h"
#include "fuzz/target.h"
#include "weir/base/check_format.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kChannels = 6;

class LoopScript {
 public:
  explicit LoopScript(Bytes input) : script_(input), loop_(std::make_unique<EventLoop>(kLoop)) {}

  void run() {
    while (!script_.ended()) step();
    finish();
    for (Watched& it : all_) it.close();
    loop_.reset();
    WEIR_CHECK(kernel_.open_descriptors() == 0, "{} descriptors", kernel_.open_descriptors());
    WEIR_CHECK(destroyed_ == posted_, "{} of {} tasks were destroyed", destroyed_, posted_);
  }

 private:
  static constexpr EventLoop::Options kLoop{.stall_threshold = 0ns};

  // A channel of a made-up descriptor, or none.
  struct Watched final : IoHandler {
    LoopScript* script = nullptr;
    Fd fd;
    std::unique_ptr<Channel> channel;

    void on_ready(std::uint32_t events) override {
      WEIR_CHECK(watched(), "an event of a channel that was removed");
      constexpr std::uint32_t kAlways = EPOLLERR | EPOLLHUP;
      std::uint32_t wanted = kAlways;
      if (channel->reading()) wanted |= EPOLLIN | EPOLLRDHUP | EPOLLPRI;
      if (channel->writing()) wanted |= EPOLLOUT;
      // A callback of this batch may have switched the interest off.
      WEIR_CHECK((events & ~wanted) == 0 || script->changed_ || script->forged_, "events {:#x}",
                 events);
      // Level-triggered events would be reported without end.
      script->kernel_.signal(fd.get(), 0, false);
      script->act();
    }
    void on_interest_refused(Errno) override {
      WEIR_CHECK(script->refused_ > 0, "nothing was refused");
      script->act();
    }
    bool watched() const { return channel && !channel->removed(); }
    void close() {
      channel.reset();
      fd.reset();
    }
  };

  // A task, counted when it is destroyed.
  struct Posted {
    LoopScript* script;
    std::uint64_t number;
    explicit Posted(LoopScript& it) : script(&it), number(it.posted_++) {}
    Posted(Posted&& other) noexcept
        : script(std::exchange(other.script, nullptr)), number(other.number) {}
    Posted& operator=(Posted&&) = delete;
    ~Posted() {
      if (script != nullptr) ++script->destroyed_;
    }
    void operator()() {
      WEIR_CHECK(number == script->ran_++, "task {} runs as number {}", number, script->ran_);
      script->act();
    }
  };

  // --- the kernel and the program around the loop ---

  void step() {
    switch (script_.byte() % 8) {
      case 0:
      case 1:
      case 2:
        return turn();
      case 3:
        return kernel_.advance(Duration(script_.byte() * 100'000));
      case 4: {
        const Watched& it = any();
        if (it.fd) kernel_.signal(it.fd.get(), script_.byte());
        return;
      }
      case 5:
        return forge();
      case 6:
        kernel_.fail_control(script_.flag() ? ENOSPC : ENOMEM);
        ++refused_;
        return;
      default:
        try {
          act();
        } catch (const std::runtime_error&) {
        }
    }
  }

  void forge() {
    forged_ = true;
    const Watched& it = any();
    std::uint64_t data = script_.byte();  // of nobody
    if (it.channel) {
      data = it.channel->id().to_u64();
      if (script_.flag()) data += std::uint64_t{1} << 32;  // of the next generation
    }
    kernel_.forge(data, script_.byte());
  }

  // An exception leaves the turn; the next one continues it.
  void turn() {
    changed_ = false;
    throwing_ = false;
    try {
      const bool on = loop_->turn(0ns);
      WEIR_CHECK(!throwing_, "an exception is lost");
      WEIR_CHECK(on == !stopped_, "stop() is lost");
      stopped_ = false;
    } catch (const std::runtime_error&) {
      WEIR_CHECK(throwing_, "another exception");
    }
  }

  // --- what a callback does ---

  Watched& any() { return all_[script_.byte() % all_.size()]; }

  void act() {
    switch (script_.byte() % 16) {
      case 1:
        return open(any());
      case 2: {
        Watched& it = any();
        changed_ = true;
        if (it.watched()) it.channel->set_reading(script_.flag());
        return;
      }
      case 3: {
        Watched& it = any();
        changed_ = true;
        if (it.watched()) it.channel->set_writing(script_.flag());
        return;
      }
      case 4: {
        Watched& it = any();
        if (it.watched()) it.channel->watch_errors();
        return;
      }
      case 5:
        return any().close();
      case 6: {
        Watched& it = any();
        if (it.channel) it.channel->remove();
        return;
      }
      case 7:
        WEIR_CHECK(loop_->post(Posted(*this)), "a post is refused");
        return;
      case 8:
        return set_timer();
      case 9:
        return cancel_timer();
      case 10:
        stopped_ = true;
        return loop_->stop();
      case 11:
        throwing_ = true;
        throw std::runtime_error("as scripted");
      default:
        return;
    }
  }

  void open(Watched& it) {
    it.close();
    it.script = this;
    it.fd.reset(kernel_.open_descriptor());
    const Trigger trigger = script_.flag() ? Trigger::edge : Trigger::level;
    it.channel = std::make_unique<Channel>(*loop_, it.fd.get(), it, trigger);
    it.channel->set_reading(true);
  }

  void set_timer() {
    const Duration delay(script_.byte() * 100'000);
    const TimePoint due = kernel_.now() + delay;
    const std::size_t name = timers_.size();
    timers_.push_back({});
    timers_[name] = loop_->run_after(delay, [this, name, due] {
      WEIR_CHECK(kernel_.now() >= due, "a timer runs early");
      WEIR_CHECK(timers_[name].has_value(), "a timer runs twice, or after cancel()");
      timers_[name].reset();
      act();
    });
  }

  void cancel_timer() {
    if (timers_.empty()) return;
    auto& timer = timers_[script_.up_to(timers_.size() - 1)];
    const bool was_set = timer.has_value();
    WEIR_CHECK(!was_set || loop_->cancel(*timer), "cancel() of a timer that was set");
    timer.reset();
  }

  // Behind the end of the script no callback does anything, so the loop must come to rest.
  void finish() {
    constexpr int kTurns = 4000;
    int turns = 0;
    do {
      kernel_.advance(1s);
      turn();
      WEIR_CHECK(++turns < kTurns, "the loop does not come to rest");
    } while (throwing_ || kernel_.has_events() || loop_->max_wait() != Duration::max());
    WEIR_CHECK(ran_ == posted_, "{} of {} tasks ran", ran_, posted_);
    for (const auto& timer : timers_) WEIR_CHECK(!timer, "a timer did not run");
  }

  Script script_;
  MemoryKernel kernel_;
  const internal::sys::ScopedTable use_{&kernel_};
  std::unique_ptr<EventLoop> loop_;
  std::array<Watched, kChannels> all_;
  std::vector<std::optional<TimerId>> timers_;  // nullopt: not set any more
  std::uint64_t posted_ = 0;
  std::uint64_t ran_ = 0;
  std::uint64_t destroyed_ = 0;
  int refused_ = 0;
  bool stopped_ = false;   // the next turn returns false
  bool throwing_ = false;  // a callback of this turn has thrown
  bool changed_ = false;   // an interest was changed in this turn
  bool forged_ = false;    // the kernel has reported something else than it should
};

void fuzz_loop(Bytes input) { LoopScript(input).run(); }

const Target kTarget("loop", fuzz_loop);

}  // namespace
}  // namespace weir::fuzz
