// SignalSet: POSIX signals as callbacks on a loop, through signalfd(2). [loop]
//
// The signals are blocked in the calling thread and, by inheritance, in threads it starts
// afterwards; LoopPool's threads block every signal, so they never compete for them. Make the
// SignalSet in main() before other threads are started. Signals that come in a burst may be told
// once (signal(7)).
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>

#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"

namespace weir {

class SignalSet final : private IoHandler {
 public:
  using Callback = std::move_only_function<void(int signal)>;

  // Throws SystemError when signalfd is refused. An unknown signal number is the caller's bug.
  SignalSet(EventLoop& loop, std::initializer_list<int> signals, Callback callback);
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

}  // namespace weir
