#include "weir/net/reactor/internal/watchdog.h"

#include <execinfo.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "weir/base/log_line.h"
#include "weir/base/mutex.h"
#include "weir/net/sys/process.h"
#include "weir/net/sys/sys.h"
#include "weir/net/sys/thread.h"

namespace weir::internal {

namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

// The rate of processor_ticks() is measured from process_start() on. As long as no time has passed,
// it is assumed to be low, so that no slow callback is missed.
constexpr double kLeastTicksPerNanosecond = 0.5;
constexpr std::uint64_t kNever = std::uint64_t{1} << 62;
struct Moment {
  std::uint64_t ticks = processor_ticks();
  TimePoint time = Clock::now();
};
const Moment& process_start() {
  static const Moment moment;
  return moment;
}

double ticks_per_nanosecond() {
  const Moment& start = process_start();
  const Moment now;
  const double passed = static_cast<double>((now.time - start.time).count());
  return passed > 0 ? static_cast<double>(now.ticks - start.ticks) / passed
                    : kLeastTicksPerNanosecond;
}

Duration duration_of(std::uint64_t ticks) {
  return Duration(static_cast<std::int64_t>(static_cast<double>(ticks) / ticks_per_nanosecond()));
}

std::int64_t ticks_of(Duration duration, double rate) {
  return static_cast<std::int64_t>(static_cast<double>(duration.count()) * rate);
}

std::string describe(Activity activity, std::uint64_t id) {
  switch (activity) {
    case Activity::waiting:
      break;
    case Activity::channel:
      return fmt::format("the handler of fd {}", id);
    case Activity::timer:
      return fmt::format("a timer (slot {})", id);
    case Activity::deadline:
      return "a deadline of a connection";
    case Activity::task:
      return "a posted task";
    case Activity::flush:
      return "the flush of a connection's output";
    case Activity::reap:
      return "the end of a connection (on_close, destructors)";
  }
  return "nothing";
}

// --- taking a stack ------------------------------------------------------------------------------

// A real-time signal, because these have no predefined meaning.
int stack_signal() { return SIGRTMAX - 3; }

// One request at a time: set under the watchdog's mutex, answered in the signal handler.
struct StackRequest {
  enum State : int { idle, asked, working, answered };
  static constexpr int kFrames = 48;
  std::atomic<int> state{idle};
  std::array<void*, kFrames> frames{};
  int count = 0;
};
constinit StackRequest the_request;

void take_stack(int) {
  const int kept = errno;
  int expected = StackRequest::asked;
  if (the_request.state.compare_exchange_strong(expected, StackRequest::working)) {
    the_request.count = ::backtrace(the_request.frames.data(), StackRequest::kFrames);
    the_request.state.store(StackRequest::answered);
  }
  errno = kept;
}

}  // namespace

// --- the watchdog --------------------------------------------------------------------------------

// One thread for all loops with stall_stacks. It exists as long as there is such a loop.
class Watchdog {
 public:
  // Never destroyed: a child of fork() has a thread_ that cannot be joined.
  static Watchdog& instance() {
    static Watchdog* const watchdog = new Watchdog;
    return *watchdog;
  }

  void add(LoopWatch& watch) {
    const MutexLock life(life_);
    allow_signal();
    const MutexLock lock(mutex_);
    watches_.push_back(&watch);
    if (thread_.joinable()) return;
    stop_ = false;
    start_thread();
  }

  void remove(LoopWatch& watch) {
    const MutexLock life(life_);
    {
      const MutexLock lock(mutex_);
      std::erase(watches_, &watch);
      if (!watches_.empty()) return;
      stop_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  // At most one stack a second, and the longest wait for the answer to the signal.
  static constexpr Duration kBetweenStacks = std::chrono::seconds(1);
  static constexpr int kAnswerMilliseconds = 100;

  void allow_signal() {
    std::array<void*, 1> frame{};
    static_cast<void>(::backtrace(frame.data(), 1));  // loads its library here, not in the handler
    if (auto set = sys::handle_signal(stack_signal(), take_stack); !set) {
      WEIR_LOG_LIMITED(warn, 1, "no stacks of stalls: sigaction: {}", set.error().message());
    }
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, stack_signal());
    sys::change_signal_mask(SIG_UNBLOCK, mask);
  }

  // If it fails, the loops run without stacks.
  void start_thread() WEIR_REQUIRES(life_) {
    sigset_t all;
    sigfillset(&all);
    const sigset_t before = sys::change_signal_mask(SIG_SETMASK, all);
    auto thread = sys::Thread::start("weir-watchdog", [this] { run(); });
    sys::change_signal_mask(SIG_SETMASK, before);
    if (thread) {
      thread_ = std::move(*thread);
    } else {
      WEIR_LOG_LIMITED(warn, 1, "no stacks of stalls: start a thread: {}", thread.error());
    }
  }

  void run() {
    MutexLock lock(mutex_);
    while (!stop_) {
      Duration shortest = std::chrono::seconds(1);
      for (const LoopWatch* watch : watches_) shortest = std::min(shortest, watch->threshold_ / 4);
      wake_.wait_for(lock, std::max<Duration>(shortest, std::chrono::milliseconds(1)));
      for (LoopWatch* watch : watches_) check(*watch);
    }
  }

  void check(LoopWatch& watch) WEIR_REQUIRES(mutex_) {
    const Activity activity = watch.activity_.load(std::memory_order_relaxed);
    const std::uint64_t since = watch.since_.load(std::memory_order_relaxed);
    if (activity == Activity::waiting || since == watch.sampled_) return;
    const auto ticks = static_cast<std::int64_t>(processor_ticks() - since);
    if (ticks <= ticks_of(watch.threshold_, ticks_per_nanosecond())) return;
    const TimePoint now = Clock::now();
    if (last_stack_ && now - *last_stack_ < kBetweenStacks) return;
    last_stack_ = now;
    watch.sampled_ = since;
    const std::string who = describe(activity, watch.id_.load(std::memory_order_relaxed));
    WEIR_LOG(warn, "{} has held its loop for {:.1f} ms, at {}", who,
             Milliseconds(duration_of(static_cast<std::uint64_t>(ticks))).count(),
             stack_of(watch.thread_));
  }

  static std::string stack_of(pthread_t thread) {
    the_request.state.store(StackRequest::asked);
    if (!sys::send_signal(thread, stack_signal())) return "an unknown place";
    for (int waited = 0; the_request.state.load() != StackRequest::answered; ++waited) {
      int expected = StackRequest::asked;
      if (waited >= kAnswerMilliseconds &&
          the_request.state.compare_exchange_strong(expected, StackRequest::idle)) {
        return "an unknown place (the thread did not answer the signal)";
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    the_request.state.store(StackRequest::idle);
    const std::unique_ptr<char*, void (*)(void*)> names(
        ::backtrace_symbols(the_request.frames.data(), the_request.count), std::free);
    std::string text;
    for (int i = 2; names && i < the_request.count; ++i) {  // after the handler and its return
      if (!text.empty()) text += " < ";
      text += names.get()[i];
    }
    return text;
  }

  Mutex life_;  // serialises add() and remove()
  Mutex mutex_;
  Condition wake_;
  std::vector<LoopWatch*> watches_ WEIR_GUARDED_BY(mutex_);
  bool stop_ WEIR_GUARDED_BY(mutex_) = false;
  std::optional<TimePoint> last_stack_ WEIR_GUARDED_BY(mutex_);
  sys::Thread thread_ WEIR_GUARDED_BY(life_);
};

LoopWatch::LoopWatch(Duration threshold, bool stacks)
    : stacks_(stacks && threshold > Duration::zero()),
      threshold_(threshold),
      share_(ticks_of(kShare, kLeastTicksPerNanosecond)),
      next_check_(processor_ticks() + (threshold > Duration::zero() ? 0 : kNever)),
      thread_(pthread_self()),
      process_(sys::process_generation()) {
  process_start();
  if (stacks_) Watchdog::instance().add(*this);
}

LoopWatch::~LoopWatch() {
  // In a child of fork() the watchdog's thread does not exist, but its mutex may be locked.
  if (stacks_ && process_ == sys::process_generation()) Watchdog::instance().remove(*this);
}

// Measures the rate again: at the first call it was not known.
bool LoopWatch::measured_above_share(std::uint64_t ticks) {
  if (sys::table().time_is_virtual()) return false;  // a simulation must not depend on real time
  share_ = ticks_of(kShare, ticks_per_nanosecond());
  return static_cast<std::int64_t>(ticks) > share_;
}

// Called kChecksPerThreshold times in each threshold for which the loop is busy, so that the usage
// of the thread since the last check is almost only that of this callback.
void LoopWatch::check(std::uint64_t now, std::uint64_t since) {
  const double rate = ticks_per_nanosecond();
  next_check_ = now + static_cast<std::uint64_t>(ticks_of(threshold_, rate) / kChecksPerThreshold);
  const auto ticks = static_cast<std::int64_t>(now - since);
  const bool slow = ticks > ticks_of(threshold_, rate);
  if (checks_left_ == 0 && !slow) return;
  const Cause cause = check_usage();
  checks_left_ = slow ? kChecksAfterStall : checks_left_ - 1;
  if (slow) report_stall(duration_of(static_cast<std::uint64_t>(ticks)), cause);
}

// Finds out what the thread did since the last check.
LoopWatch::Cause LoopWatch::check_usage() {
  const auto [cpu, waits] = sys::usage_of_this_thread();
  const Usage used{.cpu = cpu, .waits = waits};
  const Usage before = std::exchange(usage_, used);
  const std::uint64_t sleeps = sleeps_ - std::exchange(sleeps_at_check_, sleeps_);
  if (checks_left_ == 0) return Cause::unknown;  // the last check was too long ago
  if (used.cpu - before.cpu >= threshold_) return Cause::computing;
  return used.waits - before.waits > sleeps ? Cause::waiting : Cause::preempted;
}

void LoopWatch::report_stall(Duration took, Cause cause) {
  const auto who = [this] {
    return describe(activity_.load(std::memory_order_relaxed), id_.load(std::memory_order_relaxed));
  };
  const double milliseconds = Milliseconds(took).count();
  if (cause == Cause::preempted) {
    ++preempted_;
    WEIR_LOG_LIMITED(info, 1, "the loop did not get a processor for most of {:.1f} ms, in {}",
                     milliseconds, who());
    return;
  }
  ++stalls_;
  constexpr std::array<std::string_view, 3> kCauses = {"", ", computing",
                                                       ", waiting for a lock, a disk or a timeout"};
  WEIR_LOG_LIMITED(warn, 1, "{} held the loop for {:.1f} ms{}; others waited (threshold {:.1f} ms)",
                   who(), milliseconds, kCauses.at(static_cast<std::size_t>(cause)),
                   Milliseconds(threshold_).count());
}

}  // namespace weir::internal
