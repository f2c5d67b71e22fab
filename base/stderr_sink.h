// StderrSink: where weir's own logger writes. It never waits for who reads standard error: a line
// that finds no room is lost, counted, and the next one that gets out says so. Internal. [any]
#pragma once

#include <spdlog/formatter.h>
#include <spdlog/sinks/sink.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace weir::internal {

// One for all sinks, so that fork(2) can be told of it.
inline constinit std::mutex stderr_sink_mutex;

class StderrSink final : public spdlog::sinks::sink {
 public:
  StderrSink();

  void log(const spdlog::details::log_msg& message) override;
  void flush() override {}
  void set_pattern(const std::string& pattern) override;
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

 private:
  void append(std::string& out, const spdlog::details::log_msg& message);

  const bool coloured_;
  std::unique_ptr<spdlog::formatter> formatter_;  // this and what follows: under the mutex
  bool torn_ = false;                             // the last line got out in part
  std::uint64_t lost_ = 0;                        // lines, since the last one that got out
};

}  // namespace weir::internal
