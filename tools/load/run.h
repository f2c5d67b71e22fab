// One run, from the first connect to the report.
#pragma once

#include "load/settings.h"

namespace weir::load {

// Returns the exit status: 1 when there were errors.
int run(const Settings& settings);

}  // namespace weir::load
