#include "weir/net/reactor/signal_set.h"

#include <sys/signalfd.h>

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

// Blocks `signals` and returns those that were not blocked before.
sigset_t block(std::initializer_list<int> signals) {
  const sigset_t wanted = set_of(signals);
  const sigset_t before = sys::change_signal_mask(SIG_BLOCK, wanted);
  sigset_t changed;
  sigemptyset(&changed);
  for (const int signal : signals) {
    if (sigismember(&before, signal) == 0) sigaddset(&changed, signal);
  }
  note_blocked(changed);
  return changed;
}

Fd open_signalfd(std::initializer_list<int> signals, const sigset_t& blocked) {
  auto fd = sys::signalfd(set_of(signals));
  if (!fd) {
    unblock(blocked);
    throw SystemError(Error("watch signals: signalfd", fd.error()));
  }
  return std::move(*fd);
}

}  // namespace

SignalSet::SignalSet(EventLoop& loop, std::initializer_list<int> signals, Callback callback)
    : callback_(std::move(callback)),
      blocked_(block(signals)),
      fd_(open_signalfd(signals, blocked_)),
      channel_(loop, fd_.get(), *this) {
  channel_.set_reading(true);
}

SignalSet::~SignalSet() {
  channel_.remove();
  unblock(blocked_);
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
  WEIR_LOG(error, "watch signals: epoll_ctl on signalfd {}: {}", fd_.get(), error.message());
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
