// Runs part of a test in a child process, because a process has only one of each limit, namespace
// and set of signal handlers.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>

#include "support/expect_log.h"

namespace weir::test {

inline constexpr int kChildSkipped = 77;

// Forks, runs `body` and ends the child there. Its failures, and warnings that it did not expect,
// fail this test. Call it while the test has no other threads. A child that runs for `seconds` is
// ended. `body` may end the child with _exit(kChildSkipped): then false is returned.
[[nodiscard]] inline bool in_child(const std::function<void()>& body, unsigned seconds = 50) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(seconds);
    body();
    for (const std::string& line : LogWatch::unexpected()) {
      ADD_FAILURE() << "unexpected in the log: " << line;
    }
    std::fflush(nullptr);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  EXPECT_GT(child, 0) << "fork";
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kChildSkipped) return false;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "the child ended with status " << status;
  return true;
}

}  // namespace weir::test
