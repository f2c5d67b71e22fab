// The log of weir: its level, the logger that receives its lines, and a way for the program to
// write to it. [any]
//
// weir writes through spdlog, as the logger "weir". Control characters in a line are escaped, so
// that no peer can forge a line or control a terminal. Text that a peer chose goes through
// escaped(), which also bounds its length. weir never logs once per message.
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "weir/base/export.h"

namespace spdlog {
class logger;
}

namespace WEIR_EXPORT weir {

class LogLimit;

enum class LogLevel : int { trace, debug, info, warn, error, critical, off };

// Lines of this level and above are written. The first level is the environment variable WEIR_LOG
// (one of the names above) or, without it, warn.
void set_log_level(LogLevel level);
LogLevel log_level();

// Sends weir's lines to `logger` and sets the log level to that logger's level. Null: back to
// weir's own logger, which writes to stderr.
void set_logger(std::shared_ptr<spdlog::logger> logger);
std::shared_ptr<spdlog::logger> logger();

// Writes a line for the program, if the level is on and the limit (weir/base/log_limit.h) admits
// it. Keeps errno.
void write_log(LogLevel level, std::string_view line) noexcept;
void write_log(LogLevel level, LogLimit& limit, std::string_view line) noexcept;

// Makes `text` safe for a log line: printable UTF-8 stays, everything else becomes \n, \x1b,
// \u{202e}. A backslash is doubled, so that the result is unambiguous. If `text` is longer than
// `limit` bytes, the rest is replaced by its size: "...(+123 bytes)".
std::string escaped(std::string_view text, std::size_t limit = 256);
// The limit, in bytes, for text that comes from the program, such as the what() of an exception.
inline constexpr std::size_t kMaxLoggedText = 1024;

}  // namespace weir
