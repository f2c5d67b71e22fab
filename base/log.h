// What weir has to say, through spdlog, as the logger "weir". [any]
//
//   WEIR_LOG(info, "listening on {}", address);
//   WEIR_LOG_LIMITED(warn, 1, "accept on {}: {}", address, error);   // at most one line a second
//
// The arguments are not evaluated when the level is off. No exception leaves a log call, and errno
// is kept. Control characters in a line are escaped, so that no peer can forge a line or drive a
// terminal; text that a peer chose goes through escaped(), which also bounds its length.
// Nothing is logged per message.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/clock.h"

namespace spdlog {
class logger;
}

namespace weir {

enum class LogLevel : int { trace, debug, info, warn, error, critical, off };

// The level from which on lines are written. It starts as the environment's WEIR_LOG (one of the
// names above), or warn.
void set_log_level(LogLevel level);
LogLevel log_level();

// Sends weir's lines to the program's own logger, from that logger's level on. Null: back to weir's
// own, which writes to stderr.
void set_logger(std::shared_ptr<spdlog::logger> logger);
std::shared_ptr<spdlog::logger> logger();

// `text` fit for a log line: printable UTF-8 stays, all else becomes \n, \x1b, \u{202e}; a
// backslash is doubled, so that the original can be told. Of more than `limit` bytes only the first
// ones are shown, and how many were left out.
std::string escaped(std::string_view text, std::size_t limit = 256);
// Of a text that the program made, such as an exception's what(), a line shows at most so much.
inline constexpr std::size_t kMaxLoggedText = 1024;

namespace internal {

// The level in force; -1 until WEIR_LOG was read.
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

// A token bucket, filled at `per_second` and holding one second's worth, without a lock.
class LogLimit {
 public:
  constexpr explicit LogLimit(unsigned per_second)
      : interval_(std::int64_t{1'000'000'000} / (per_second == 0 ? 1 : per_second)) {}

  // Whether this line may be written; if so, `suppressed` is how many were not since the last one.
  bool admit(std::uint64_t& suppressed) noexcept { return admit(Clock::now(), suppressed); }
  bool admit(TimePoint now, std::uint64_t& suppressed) noexcept;

 private:
  const std::int64_t interval_;  // ns between two tokens
  // When the bucket will be full again, ns of Clock. (A full bucket is a time that has passed.)
  std::atomic<std::int64_t> full_at_{(std::numeric_limits<std::int64_t>::min)()};
  std::atomic<std::uint64_t> suppressed_{0};
};

// For tests: sees each line that is written, besides the logger. Called by the thread that logs;
// must not log itself. Returns the one before. Null: none.
using LogObserver = std::function<void(LogLevel level, std::string_view line)>;
LogObserver set_log_observer(LogObserver observer);

}  // namespace internal
}  // namespace weir

#define WEIR_LOG(level, ...)                                                         \
  do {                                                                               \
    if (::weir::internal::log_enabled(::weir::LogLevel::level)) [[unlikely]]         \
      ::weir::internal::log(::weir::LogLevel::level, std::uint64_t{0}, __VA_ARGS__); \
  } while (false)

// At most `per_second` (a constant; 10 is usual) lines a second from this place in the source. The
// next line says how many were left out: "(+123 suppressed)".
#define WEIR_LOG_LIMITED(level, per_second, ...)                                      \
  do {                                                                                \
    if (::weir::internal::log_enabled(::weir::LogLevel::level)) [[unlikely]] {        \
      static constinit ::weir::internal::LogLimit weir_log_limit(per_second);         \
      std::uint64_t weir_suppressed = 0;                                              \
      if (weir_log_limit.admit(weir_suppressed))                                      \
        ::weir::internal::log(::weir::LogLevel::level, weir_suppressed, __VA_ARGS__); \
    }                                                                                 \
  } while (false)
