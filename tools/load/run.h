// One run, from the first connect to the report.
#pragma once

#include "load/settings.h"

namespace weir::load {

// Returns the exit status: 0; 1 if there were errors; 2 if --pid is wrong.
int run(const Settings& settings);

}  // namespace weir::load
