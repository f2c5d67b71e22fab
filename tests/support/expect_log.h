// The log lines that a test expects of weir. A warning or an error fails the test unless a scope
// below expects it. [any]
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "weir/base/log.h"

namespace weir::test {

// While it lives, lines that contain `part` are permitted.
class AllowLog {
 public:
  explicit AllowLog(std::string_view part);
  ~AllowLog();
  AllowLog(const AllowLog&) = delete;
  AllowLog& operator=(const AllowLog&) = delete;

  std::size_t count() const;
  std::vector<std::string> lines() const;

 private:
  friend class LogWatch;
  const std::string part_;
  std::vector<std::string> lines_;  // LogWatch's mutex
};

// The same, and at least one such line must be logged before its scope ends. A line of
// WEIR_LOG_LIMITED that the same test has logged before may be suppressed: then use AllowLog.
class ExpectLog : public AllowLog {
 public:
  using AllowLog::AllowLog;
  ~ExpectLog();
};

// For LeakCheck: observes every line.
class LogWatch {
 public:
  // At the start of each test: becomes weir's log observer, forgets the lines that it saw, and
  // fills every LogLimit, so that no line is suppressed because of an earlier test.
  static void start();
  // The warnings and errors that no scope expected.
  static std::vector<std::string> unexpected();

 private:
  friend class AllowLog;
  static LogWatch& instance();
  void see(LogLevel level, std::string_view line);
};

}  // namespace weir::test
