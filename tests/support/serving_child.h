// A server program as a child process, with the lines that it prints and its exit status.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>

#include "support/loops.h"
#include "weir/base/fd.h"
#include "weir/net/socket/socket_address.h"

namespace weir::test {

// A program that ends with serve(), in a child process, so that its signals reach no other test.
// Make it while the test has no other threads.
class ServingChild {
 public:
  // The result of `body` is the child's exit code.
  explicit ServingChild(const std::function<int()>& body) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) ADD_FAILURE() << "pipe2";
    output_.reset(ends[0]);
    Fd theirs(ends[1]);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::alarm(50);
      ::dup2(theirs.get(), STDOUT_FILENO);
      const int code = body();
      std::fflush(nullptr);
      ::_exit(::testing::Test::HasFailure() ? 99 : code);
    }
    EXPECT_GT(pid_, 0) << "fork";
  }
  ~ServingChild() {
    if (status_) return;
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ServingChild(const ServingChild&) = delete;
  ServingChild& operator=(const ServingChild&) = delete;

  void signal(int number) const { ::kill(pid_, number); }

  // The next line of its standard output; nothing at its end or after the deadline.
  std::string line() {
    std::string text;
    for (char c = 0; c != '\n';) {
      pollfd item{.fd = output_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&item, 1, 5000) != 1 || ::read(output_.get(), &c, 1) != 1) return text;
      if (c != '\n') text += c;
    }
    return text;
  }
  // The address of its next line.
  SocketAddress address() {
    const std::string text = line();
    const std::string begin = "listening on ";
    EXPECT_TRUE(text.starts_with(begin)) << text;
    const auto parsed = SocketAddress::parse(text.substr(std::min(begin.size(), text.size())));
    EXPECT_TRUE(parsed);
    return parsed.value_or(SocketAddress());
  }

  // Its exit code, or -n when signal n ended it; nothing when it still runs at the deadline.
  std::optional<int> wait(Duration deadline = std::chrono::seconds(10)) {
    int status = 0;
    if (!wait_until([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, deadline)) return {};
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return status_;
  }

 private:
  pid_t pid_ = -1;
  Fd output_;
  std::optional<int> status_;
};

}  // namespace weir::test
