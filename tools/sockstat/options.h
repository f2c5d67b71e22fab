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
  std::optional<Duration> watch;  // how long between two looks
  std::uint64_t looks = 0;        // then it ends; 0: when it is told to
  std::string json;               // a file, or "-" for JSON instead of text; empty: none
};

// What to do; or the exit status, when help was asked for (0) or a mistake has been told (2).
std::variant<Settings, int> read_command_line(int argc, char** argv);

}  // namespace weir::sockstat
