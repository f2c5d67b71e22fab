// The command line of weir-load.
#pragma once

#include <variant>

#include "load/settings.h"

namespace weir::load {

// The settings; or the exit status: 0 after --help, 2 after an error message.
std::variant<Settings, int> read_command_line(int argc, char** argv);

}  // namespace weir::load
