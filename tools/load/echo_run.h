// One run of `weir-load echo`, from connecting to the report.
#pragma once

#include "load/settings.h"

namespace weir::load {

// Prints a live line on stderr and the report on stdout. Returns the exit status: 0, or 1 when
// anything went wrong. Throws SystemError when the kernel refuses a loop or a thread.
int run_echo(const EchoSettings& settings);

}  // namespace weir::load
