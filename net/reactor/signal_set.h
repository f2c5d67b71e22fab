// SignalSet: POSIX signals as callbacks on a loop, through signalfd(2). [loop]
//
// The signals are blocked in the calling thread and, by inheritance, in threads that it starts
// later. The threads of a LoopPool block all signals. Create the SignalSet in main() before other
// threads are started, or start them under AllSignalsBlocked: a signal can be delivered to any
// thread that does not block it, and then does not reach the SignalSet. Several pending signals of
// one number can be reported once (signal(7)).
//
// Blocked signals stay blocked after exec. In a child of fork(2), the signals that weir blocked in
// the forking thread are unblocked; for posix_spawn(3) see signal_mask_for_children().
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/task.h"

namespace WEIR_EXPORT weir {

class SignalSet final : private IoHandler {
 public:
  using Callback = std::move_only_function<void(int signal)>;

  // Throws SystemError when the kernel refuses a signalfd. An unknown signal number is a bug of the
  // caller (CHECK).
  SignalSet(EventLoop& loop, std::initializer_list<int> numbers, Callback callback);
  // Unblocks the signals that the constructor blocked. Pending signals that were not reported then
  // have their usual effect.
  ~SignalSet();

 private:
  // The number of signals read in one turn; the rest follows in the next turn.
  static constexpr int kMaxSignalsPerTurn = 32;

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;

  // Blocks signals, and unblocks those of them that were not blocked before.
  class Blocked {
   public:
    explicit Blocked(std::initializer_list<int> numbers);
    ~Blocked();
    Blocked(const Blocked&) = delete;
    Blocked& operator=(const Blocked&) = delete;

   private:
    sigset_t changed_;
  };

  Callback callback_;
  const Blocked blocked_;
  Fd fd_;
  Channel channel_;
  TimerId retry_;  // after epoll has refused the signalfd
};

// Blocks all signals in the calling thread as long as the object lives. Threads that are started
// during this time block all signals for good. For the program's own threads.
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

// The signals that the calling thread blocks, without those that weir blocked: for
// posix_spawnattr_setsigmask(3), with POSIX_SPAWN_SETSIGMASK. (system(3) and popen(3) have no such
// option: their children inherit the mask of this thread. In a thread of the program that was
// started under AllSignalsBlocked, weir does not know which signals it blocked.)
sigset_t signal_mask_for_children();

}  // namespace weir

namespace weir::internal {
// For a thread that was started under AllSignalsBlocked. `mask`: signal_mask_for_children() in the
// thread that started it.
void set_signal_mask_for_children(const sigset_t& mask);
}  // namespace weir::internal
