// Subprocess: runs another program, captures its output, and has a deadline on every wait. The
// destructor ends the program, by its process id. [one thread]
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "weir/base/clock.h"

namespace weir::test {

class Subprocess {
 public:
  static constexpr std::chrono::seconds kTimeout{10};

  // Starts arguments[0], looked for in PATH, with the signals that weir's tests may have blocked
  // unblocked, and `environment` ("NAME=value") added to ours. Fails the test if it cannot.
  explicit Subprocess(std::vector<std::string> arguments,
                      std::vector<std::string> environment = {});
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  void write_input(std::string_view bytes);
  void close_input();

  // The next complete line of its standard output, without the newline.
  std::optional<std::string> read_line(Duration deadline = kTimeout);
  // Its exit status; 128 + n when signal n ended it; nullopt when it still runs at the deadline.
  std::optional<int> wait(Duration deadline = kTimeout);

  // All output so far.
  std::string output() const;
  std::string errors() const;

 private:
  void collect(int output, int errors);

  pid_t pid_ = -1;
  int input_ = -1;
  std::optional<int> status_;
  std::thread collector_;

  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::string output_;       // mutex_
  std::string errors_;       // mutex_
  std::size_t line_at_ = 0;  // mutex_
  bool ended_ = false;       // mutex_; both streams are at their end
};

}  // namespace weir::test
