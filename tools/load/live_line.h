// LiveLine: a line on stderr that is rewritten in place; if stderr is not a terminal, plain lines.
// Write errors are ignored, because the report does not depend on it.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

namespace weir::load {

class LiveLine {
 public:
  void show(const std::string& line) {
    put(terminal_ ? "\r\x1b[K" + line : line + "\n");
    std::fflush(stderr);
  }
  void clear() {
    if (terminal_) put("\r\x1b[K");
  }

 private:
  static void put(const std::string& text) { std::fputs(text.c_str(), stderr); }

  const bool terminal_ = isatty(STDERR_FILENO) == 1;
};

}  // namespace weir::load
