// Threads and signal masks, through the thread's SysTable, as all of sys. Internal.
#pragma once

#include <pthread.h>

#include <csignal>
#include <functional>
#include <string>
#include <utility>

#include "weir/base/result.h"

namespace weir::internal::sys {

// A thread that weir has started. [its owner's thread]
class Thread {
 public:
  using Body = std::move_only_function<void()>;

  // Runs `body` on a new thread of that name (15 characters at most), which inherits the SysTable
  // and the signal mask of this one. An exception that leaves `body` ends the program. EAGAIN:
  // there are too many threads.
  static SysResult<Thread> start(const char* name, Body body);

  Thread() = default;
  Thread(Thread&& other) noexcept
      : handle_(other.handle_), joinable_(std::exchange(other.joinable_, false)) {}
  Thread& operator=(Thread&& other) noexcept;
  // It was joined.
  ~Thread();

  bool joinable() const { return joinable_; }
  void join();

 private:
  pthread_t handle_{};
  bool joinable_ = false;
};

// Changes the calling thread's signal mask; `how` as pthread_sigmask(3) has it. Returns the one
// before.
sigset_t change_signal_mask(int how, const sigset_t& signals);
sigset_t signal_mask();
// False: there is no such thread.
bool send_signal(pthread_t thread, int signal);

// pthread_atfork(3), for the whole process. Without memory for it a child of fork() goes without.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

}  // namespace weir::internal::sys
