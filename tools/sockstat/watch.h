// Takes one look or several, and writes the results.
#pragma once

#include "sockstat/options.h"
#include "weir/base/result.h"

namespace weir::sockstat {

Result<void> show(const Settings& settings);

}  // namespace weir::sockstat
