// SignalSet: POSIX signals as callbacks on a loop, through signalfd(2). [loop]
//
// The signals are blocked in the calling thread and, by inheritance, in threads it starts
// afterwards; LoopPool's threads block every signal, so they never compete for them. Make the
// SignalSet in main() before other threads are started, or start them under AllSignalsBlocked:
// a thread that does not block a signal gets it in the SignalSet's stead. Signals that come in a
// burst may be told once (signal(7)).
//
// Blocked signals survive exec. A child of fork(2) begins without those that weir has blocked in
// the thread that forked; for posix_spawn(3) see signal_mask_for_children().
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"

namespace WEIR_EXPORT weir {

class SignalSet final : private IoHandler {
 public:
  using Callback = std::move_only_function<void(int signal)>;

  // Throws SystemError when signalfd is refused. An unknown signal number is the caller's bug.
  SignalSet(EventLoop& loop, std::initializer_list<int> numbers, Callback callback);
  // Unblocks what it blocked. Signals that came and were not told yet then have their usual effect.
  ~SignalSet();

 private:
  // Signals read per readiness; more follow in the next turn.
  static constexpr int kMaxSignalsPerTurn = 32;

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;

  Callback callback_;
  sigset_t blocked_;  // those that were not blocked before
  Fd fd_;
  Channel channel_;
};

// While it lives the calling thread blocks all signals, and so do, for good, threads that it starts
// meanwhile: for threads of your own.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked();
  ~AllSignalsBlocked();
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
  sigset_t mask_for_children_before_;
};

// What the calling thread would block without weir: for posix_spawnattr_setsigmask(3), with
// POSIX_SPAWN_SETSIGMASK. (system(3) and popen(3) know no such thing: their children block what
// this thread blocks. In a thread of your own that was started under AllSignalsBlocked, weir does
// not know what it would be.)
sigset_t signal_mask_for_children();

}  // namespace weir

namespace weir::internal {
// For a thread that was started under AllSignalsBlocked: what signal_mask_for_children() gave in
// the thread that started it.
void set_signal_mask_for_children(const sigset_t& mask);
}  // namespace weir::internal
