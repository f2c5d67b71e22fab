// StderrSink: the sink of weir's own logger. It never waits for the reader of standard error: a
// line that does not fit is dropped and counted, and the next line that is written reports the
// count. Internal. [any]
#pragma once

#include <spdlog/formatter.h>
#include <spdlog/sinks/sink.h>

#include <cstdint>
#include <memory>
#include <string>

#include "weir/base/mutex.h"

namespace weir::internal {

// Shared by all sinks, so that the fork handlers (log.cc) can lock it around fork(2).
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
  // Only a part of the last line was written.
  bool torn_ WEIR_GUARDED_BY(stderr_sink_mutex) = false;
  // Lines dropped since the last one that was written.
  std::uint64_t lost_ WEIR_GUARDED_BY(stderr_sink_mutex) = 0;
};

}  // namespace weir::internal
