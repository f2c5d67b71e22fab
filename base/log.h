// weir's log: its level, the logger that its lines go to, and lines of the program's own. [any]
//
// weir writes through spdlog, as the logger "weir". Control characters in a line are escaped, so
// that no peer can forge a line or drive a terminal; text that a peer chose goes through escaped(),
// which also bounds its length. Nothing is logged per message.
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

// The level from which on lines are written. It starts as the environment's WEIR_LOG (one of the
// names above), or warn.
void set_log_level(LogLevel level);
LogLevel log_level();

// Sends weir's lines to the program's own logger, from that logger's level on. Null: back to weir's
// own, which writes to stderr.
void set_logger(std::shared_ptr<spdlog::logger> logger);
std::shared_ptr<spdlog::logger> logger();

// Writes a line of the program's own, if the level is on and (weir/base/log_limit.h) the limit
// admits it. Keeps errno.
void write_log(LogLevel level, std::string_view line) noexcept;
void write_log(LogLevel level, LogLimit& limit, std::string_view line) noexcept;

// `text` fit for a log line: printable UTF-8 stays, all else becomes \n, \x1b, \u{202e}; a
// backslash is doubled, so that the original can be told. Of more than `limit` bytes only the first
// ones are shown, and how many were left out.
std::string escaped(std::string_view text, std::size_t limit = 256);
// Of a text that the program made, such as an exception's what(), a line shows at most so much.
inline constexpr std::size_t kMaxLoggedText = 1024;

}  // namespace weir
