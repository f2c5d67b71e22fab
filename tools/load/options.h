// The command line of weir-load.
#pragma once

#include <variant>

#include "load/settings.h"

namespace weir::load {

// What to do; or the exit status, when help was asked for (0) or a mistake has been told (2).
std::variant<Settings, int> read_command_line(int argc, char** argv);

}  // namespace weir::load
