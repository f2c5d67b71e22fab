// LiveLine: a line on stderr that is rewritten in place; plain lines when that is not a terminal.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace weir::load {

class LiveLine {
 public:
  void show(const std::string& line) {
    fmt::print(stderr, "{}{}{}", terminal_ ? "\r\x1b[K" : "", line, terminal_ ? "" : "\n");
    std::fflush(stderr);
  }
  void clear() {
    if (terminal_) fmt::print(stderr, "\r\x1b[K");
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
};

}  // namespace weir::load
