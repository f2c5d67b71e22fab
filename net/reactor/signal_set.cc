#include "weir/net/reactor/signal_set.h"

#include <sys/signalfd.h>

#include <span>
#include <utility>

#include "weir/base/check.h"
#include "weir/base/log.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/sys.h"

namespace weir {

namespace sys = internal::sys;

namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    WEIR_CHECK(sigaddset(&set, signal) == 0, "SignalSet with an unknown signal number {}", signal);
  }
  return set;
}

// Blocks `signals`; returns those of them that were not blocked before.
sigset_t block(std::initializer_list<int> signals) {
  const sigset_t wanted = set_of(signals);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &wanted, &before);
  sigset_t changed;
  sigemptyset(&changed);
  for (const int signal : signals) {
    if (sigismember(&before, signal) == 0) sigaddset(&changed, signal);
  }
  return changed;
}

Fd open_signalfd(std::initializer_list<int> signals, const sigset_t& blocked) {
  auto fd = sys::signalfd(set_of(signals));
  if (!fd) {
    pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
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
  pthread_sigmask(SIG_UNBLOCK, &blocked_, nullptr);
}

void SignalSet::on_ready(std::uint32_t) {
  // The callback may destroy this object; it then has to live on until it returns.
  const SlotId self = channel_.id();
  EventLoop& loop = channel_.loop();
  Callback callback = std::move(callback_);
  struct PutBack {
    SignalSet& set;
    EventLoop& loop;
    SlotId self;
    Callback& callback;
    ~PutBack() {
      if (loop.find_handler(self) != nullptr) set.callback_ = std::move(callback);
    }
  } const put_back{*this, loop, self, callback};
  for (int i = 0; i < kMaxSignalsPerTurn && loop.find_handler(self) != nullptr; ++i) {
    signalfd_siginfo info{};
    auto got = sys::read(fd_.get(), std::as_writable_bytes(std::span(&info, 1)));
    if (!got || *got != sizeof(info)) return;
    callback(static_cast<int>(info.ssi_signo));
  }
}

void SignalSet::on_interest_refused(Errno error) {
  WEIR_LOG(error, "watch signals: epoll_ctl on signalfd {}: {}", fd_.get(), error.message());
}

}  // namespace weir
