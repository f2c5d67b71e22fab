// The macros with which weir writes to its log (weir/base/log.h). Internal. [any]
//
//   WEIR_LOG(info, "listening on {}", address);
//   WEIR_LOG_LIMITED(warn, 1, "accept on {}: {}", address, error);   // at most one line a second
//
// The arguments are not evaluated when the level is off. A log call throws nothing and keeps errno.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "weir/base/clock.h"
#include "weir/base/fmt.h"
#include "weir/base/log.h"
#include "weir/base/log_limit.h"

namespace weir::internal {

// The current level; -1 until WEIR_LOG was read.
extern constinit std::atomic<int> log_threshold;
int read_log_threshold() noexcept;

inline bool log_enabled(LogLevel level) noexcept {
  int threshold = log_threshold.load(std::memory_order_relaxed);
  if (threshold < 0) [[unlikely]]
    threshold = read_log_threshold();
  return static_cast<int>(level) >= threshold;
}

void write_log(LogLevel level, std::uint64_t suppressed, fmt::string_view format,
               fmt::format_args args) noexcept;

template <typename... Args>
void log(LogLevel level, std::uint64_t suppressed, fmt::format_string<Args...> format,
         Args&&... args) noexcept {
  write_log(level, suppressed, format, fmt::make_format_args(args...));
}

// For tests: a function that also gets each line that is written. It is called by the thread that
// logs and must not log. Returns the previous one. Null: none.
using LogObserver = std::function<void(LogLevel level, std::string_view line)>;
LogObserver set_log_observer(LogObserver observer);

// For tests: from now on every LogLimit behaves as if `by` more time had passed. After a second all
// of them are full. [any]
void advance_log_clock(Duration by) noexcept;

}  // namespace weir::internal

#define WEIR_LOG(level, ...)                                                         \
  do {                                                                               \
    if (::weir::internal::log_enabled(::weir::LogLevel::level)) [[unlikely]]         \
      ::weir::internal::log(::weir::LogLevel::level, std::uint64_t{0}, __VA_ARGS__); \
  } while (false)

// At most `per_second` lines a second (a constant; usually 10) from this place in the source. The
// next line reports the number of suppressed lines: "(+123 suppressed)".
#define WEIR_LOG_LIMITED(level, per_second, ...)                                      \
  do {                                                                                \
    if (::weir::internal::log_enabled(::weir::LogLevel::level)) [[unlikely]] {        \
      static constinit ::weir::LogLimit weir_log_limit(per_second);                   \
      std::uint64_t weir_suppressed = 0;                                              \
      if (weir_log_limit.admit(weir_suppressed))                                      \
        ::weir::internal::log(::weir::LogLevel::level, weir_suppressed, __VA_ARGS__); \
    }                                                                                 \
  } while (false)
