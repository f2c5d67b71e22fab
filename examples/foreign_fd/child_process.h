// ChildProcess: a program that was started, with its output, its errors and its pidfd.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/base/fd.h"
#include "weir/base/result.h"

class ChildProcess {
 public:
  // Searches the program in PATH. Its standard input is /dev/null; it gets its own process group.
  static weir::Result<ChildProcess> start(const std::vector<std::string>& words);
  // Kills the process and the rest of its group, and reaps it. The pid is not reused before that.
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) = delete;

  // Becomes readable when the process has ended.
  int ended_fd() const { return pidfd_.get(); }
  weir::Fd take_output() { return std::move(output_); }  // non-blocking, like the errors
  weir::Fd take_errors() { return std::move(errors_); }

  int pid() const { return pid_; }
  // Sends a signal to the process group.
  void signal(int number) const;
  struct Ended {
    bool by_signal = false;
    int number = 0;  // the signal, or the exit status
    // As a shell's $?, where 128 + n may also be an exit status.
    int shell_status() const { return by_signal ? 128 + number : number; }
  };
  // How the process ended; empty while it runs. Does not wait.
  std::optional<Ended> ended() const;

 private:
  ChildProcess() = default;

  weir::Fd pidfd_;
  weir::Fd output_;
  weir::Fd errors_;
  int pid_ = -1;
};
