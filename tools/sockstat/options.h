// The command line of weir-sockstat.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "sockstat/model.h"
#include "weir/base/clock.h"

namespace weir::sockstat {

struct Settings {
  Selection selection;
  std::optional<Duration> watch;  // the time between two looks
  std::uint64_t looks = 0;        // the number of looks; 0: until a signal
  std::string json;               // a file, or "-" for JSON instead of text; empty: none
};

// The settings; or the exit status: 0 after --help, 2 after an error message.
std::variant<Settings, int> read_command_line(int argc, char** argv);

}  // namespace weir::sockstat
