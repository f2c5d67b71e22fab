// ChildProcess: a program that was started, and the three descriptors that tell of it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/base/fd.h"
#include "weir/base/result.h"

class ChildProcess {
 public:
  // The program is looked for in PATH. It reads /dev/null, and has a process group of its own.
  static weir::Result<ChildProcess> start(const std::vector<std::string>& words);
  // Ends it, and what is left of its group, and reaps it. Until then its number is nobody else's.
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) = delete;

  // Readable once it has ended. With the pipes it is watched on a loop.
  int ended_fd() const { return pidfd_.get(); }
  weir::Fd take_output() { return std::move(output_); }  // non-blocking, as the next one
  weir::Fd take_errors() { return std::move(errors_); }

  int pid() const { return pid_; }
  // To it and to what it has started in its group.
  void signal(int number) const;
  struct Ended {
    bool by_signal = false;
    int number = 0;  // of the signal; else what it returned
    // As a shell's $?, in which 128 + n can also be what a program returned.
    int shell_status() const { return by_signal ? 128 + number : number; }
  };
  // How it ended, if it has. Does not wait.
  std::optional<Ended> ended() const;

 private:
  ChildProcess() = default;

  weir::Fd pidfd_;
  weir::Fd output_;
  weir::Fd errors_;
  int pid_ = -1;
};
