// Makes pthread_create(3) say EAGAIN, as where a user has too many threads. For a child process
// (in_child.h), because there is no way back to the user that it was.
#pragma once

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "support/in_child.h"
#include "support/process_state.h"

namespace weir::test {

// Threads that weir has made. (ThreadSanitizer has one of its own.)
inline std::ptrdiff_t threads_of_weir() {
  return std::ranges::count_if(
      threads(), [](const auto& thread) { return thread.second.starts_with("weir-"); });
}

class ThreadLimit {
 public:
  // `more` threads may still be made. RLIMIT_NPROC counts those of a user, and root's are not
  // bounded: so this process becomes a user that nobody else is. Needs root; else the child skips.
  explicit ThreadLimit(rlim_t more) {
    const auto user = static_cast<uid_t>(1'000'000 + ::getpid());
    if (::setuid(user) != 0) ::_exit(kChildSkipped);
    ::prctl(PR_SET_DUMPABLE, 1);  // or /proc/self would be root's
    ::getrlimit(RLIMIT_NPROC, &before_);
    rlimit few = before_;
    few.rlim_cur = 1 + more;  // with this one
    EXPECT_EQ(::setrlimit(RLIMIT_NPROC, &few), 0);
  }
  void lift() { EXPECT_EQ(::setrlimit(RLIMIT_NPROC, &before_), 0); }

 private:
  rlimit before_{};
};

}  // namespace weir::test
