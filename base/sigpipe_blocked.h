// SigpipeBlocked: for calls that raise SIGPIPE and have no flag to suppress it. Internal to weir.
// [any]
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>

namespace weir::internal {

// Blocks SIGPIPE for this thread as long as the object lives. A SIGPIPE that was pending before
// stays pending.
class SigpipeBlocked {
 public:
  SigpipeBlocked() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &previous_);
    if (sigismember(&previous_, SIGPIPE) == 1) {
      sigset_t pending;
      sigemptyset(&pending);
      sigpending(&pending);
      was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    }
  }
  SigpipeBlocked(const SigpipeBlocked&) = delete;
  SigpipeBlocked& operator=(const SigpipeBlocked&) = delete;
  ~SigpipeBlocked() {
    const int kept = errno;
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
    errno = kept;
  }

  // Discards a SIGPIPE that was raised in this scope. Keeps errno.
  void swallow() {
    if (was_pending_) return;
    const int kept = errno;
    const timespec at_once{};
    while (sigtimedwait(&sigpipe_, nullptr, &at_once) < 0 && errno == EINTR) {
    }
    errno = kept;
  }

 private:
  sigset_t sigpipe_;
  sigset_t previous_;
  bool was_pending_ = false;
};

}  // namespace weir::internal
