// StderrSink: where weir's own logger writes. It never waits for who reads standard error: a line
// that finds no room is lost, counted, and the next one that gets out says so. Internal. [any]
#pragma once

#include <spdlog/formatter.h>
#include <spdlog/sinks/sink.h>

#include <cstdint>
#include <memory>
#include <string>

#include "weir/base/mutex.h"

namespace weir::internal {

// One for all sinks, so that fork(2) can be told of it.
inline constinit Mutex stderr_sink_mutex;

class StderrSink final : public spdlog::sinks::sink {
 public:
  StderrSink();

  void log(const spdlog::details::log_msg& message) override;
  void flush() override {}
  void set_pattern(const std::string& pattern) override;
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

 private:
  void append(std::string& out, const spdlog::details::log_msg& message)
      WEIR_REQUIRES(stderr_sink_mutex);

  const bool coloured_;
  std::unique_ptr<spdlog::formatter> formatter_ WEIR_GUARDED_BY(stderr_sink_mutex);
  // The last line got out in part.
  bool torn_ WEIR_GUARDED_BY(stderr_sink_mutex) = false;
  // Lines, since the last one that got out.
  std::uint64_t lost_ WEIR_GUARDED_BY(stderr_sink_mutex) = 0;
};

}  // namespace weir::internal
