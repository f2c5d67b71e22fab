#include "weir/net/reactor/signal_set.h"

#include <sys/signalfd.h>

#include <chrono>
#include <span>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"
#include "weir/net/sys/thread.h"

namespace weir {

namespace sys = internal::sys;

namespace {

// The wait before epoll is asked again, which has refused the signalfd for want of memory.
constexpr Duration kRetry = std::chrono::milliseconds(100);

// The signals that weir, and not the program, has blocked in this thread.
struct BlockedHere {
  sigset_t signals;
  bool any;
};
constinit thread_local BlockedHere blocked_here{};

BlockedHere& blocked_by_weir() {
  [[maybe_unused]] static const bool kChildrenUnblock = [] {
    sys::at_fork(nullptr, nullptr, [] {
      if (blocked_here.any) sys::change_signal_mask(SIG_UNBLOCK, blocked_here.signals);
    });
    return true;
  }();
  return blocked_here;
}

sigset_t without(sigset_t set, const sigset_t& taken) {
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    if (sigismember(&taken, signal) == 1) sigdelset(&set, signal);
  }
  return set;
}

void note_blocked(const sigset_t& signals) {
  BlockedHere& here = blocked_by_weir();
  const sigset_t before = here.signals;
  sigorset(&here.signals, &before, &signals);
  here.any = true;
}

void unblock(const sigset_t& signals) {
  sys::change_signal_mask(SIG_UNBLOCK, signals);
  BlockedHere& here = blocked_by_weir();
  here.signals = without(here.signals, signals);
}

sigset_t all_signals() {
  sigset_t all;
  sigfillset(&all);
  return all;
}

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    WEIR_CHECK(sigaddset(&set, signal) == 0, "SignalSet with an unknown signal number {}", signal);
  }
  return set;
}

Fd open_signalfd(std::initializer_list<int> signals) {
  auto fd = sys::signalfd(set_of(signals));
  if (!fd) throw SystemError(Error("watch signals: signalfd", fd.error()));
  return std::move(*fd);
}

}  // namespace

SignalSet::Blocked::Blocked(std::initializer_list<int> numbers) {
  const sigset_t before = sys::change_signal_mask(SIG_BLOCK, set_of(numbers));
  sigemptyset(&changed_);
  for (const int number : numbers) {
    if (sigismember(&before, number) == 0) sigaddset(&changed_, number);
  }
  note_blocked(changed_);
}
SignalSet::Blocked::~Blocked() { unblock(changed_); }

SignalSet::SignalSet(EventLoop& loop, std::initializer_list<int> numbers, Callback callback)
    : callback_(std::move(callback)),
      blocked_(numbers),
      fd_(open_signalfd(numbers)),
      channel_(loop, fd_.get(), *this) {
  channel_.set_reading(true);
}

SignalSet::~SignalSet() {
  channel_.loop().cancel(retry_);
  channel_.remove();
}

void SignalSet::on_ready(std::uint32_t) {
  // The callback may destroy this object, but must itself live until it returns.
  const SlotId self = channel_.id();
  EventLoop& loop = channel_.loop();
  Callback callback = std::move(callback_);
  struct PutBack {
    SignalSet& set;
    EventLoop& loop;
    SlotId self;
    Callback& callback;
    ~PutBack() {
      if (internal::core_of(loop).find_handler(self) != nullptr)
        set.callback_ = std::move(callback);
    }
  } const put_back{*this, loop, self, callback};
  for (int i = 0; i < kMaxSignalsPerTurn && internal::core_of(loop).find_handler(self) != nullptr;
       ++i) {
    signalfd_siginfo info{};
    auto got = sys::read(fd_.get(), std::as_writable_bytes(std::span(&info, 1)));
    if (!got || *got != sizeof(info)) return;
    callback(static_cast<int>(info.ssi_signo));
  }
}

void SignalSet::on_interest_refused(Errno error) {
  WEIR_LOG_LIMITED(error, 1, "watch signals: epoll_ctl on signalfd {}: {}; trying again in {} ms",
                   fd_.get(), error.message(),
                   std::chrono::duration_cast<std::chrono::milliseconds>(kRetry).count());
  retry_ = channel_.loop().run_after(kRetry, [this] { channel_.set_reading(true); });
}

AllSignalsBlocked::AllSignalsBlocked() : mask_for_children_before_(signal_mask_for_children()) {
  before_ = sys::change_signal_mask(SIG_SETMASK, all_signals());
  internal::set_signal_mask_for_children(mask_for_children_before_);
}

AllSignalsBlocked::~AllSignalsBlocked() {
  sys::change_signal_mask(SIG_SETMASK, before_);
  blocked_by_weir().signals = without(before_, mask_for_children_before_);
}

sigset_t signal_mask_for_children() {
  const sigset_t now = sys::signal_mask();
  const BlockedHere& here = blocked_by_weir();
  return here.any ? without(now, here.signals) : now;
}

namespace internal {

void set_signal_mask_for_children(const sigset_t& mask) {
  blocked_by_weir() = {.signals = without(all_signals(), mask), .any = true};
}

}  // namespace internal
}  // namespace weir
