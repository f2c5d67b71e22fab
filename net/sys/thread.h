// Threads and signal masks. The calls go through the thread's SysTable, as everything in sys.
// Internal.
#pragma once

#include <pthread.h>

#include <csignal>
#include <functional>
#include <string>
#include <utility>

#include "weir/base/result.h"

namespace weir::internal::sys {

// A thread that weir started. [its owner's thread]
class Thread {
 public:
  using Body = std::move_only_function<void()>;

  // Runs `body` on a new thread with this name (at most 15 characters), which inherits the SysTable
  // and the signal mask of this thread. An exception that leaves `body` terminates the program.
  // EAGAIN: too many threads.
  static SysResult<Thread> start(const char* name, Body body);

  Thread() = default;
  Thread(Thread&& other) noexcept
      : handle_(other.handle_), joinable_(std::exchange(other.joinable_, false)) {}
  Thread& operator=(Thread&& other) noexcept;
  // The thread must have been joined (CHECK).
  ~Thread();

  bool joinable() const { return joinable_; }
  void join();

 private:
  pthread_t handle_{};
  bool joinable_ = false;
};

// Changes the signal mask of the calling thread; `how` as in pthread_sigmask(3). Returns the
// previous mask.
sigset_t change_signal_mask(int how, const sigset_t& signals);
sigset_t signal_mask();
// False: there is no such thread.
bool send_signal(pthread_t thread, int signal);

// pthread_atfork(3), for the whole process. If it fails (no memory), the functions are not called.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

}  // namespace weir::internal::sys
