// Looks once, or again and again, and tells what was seen.
#pragma once

#include "sockstat/options.h"
#include "weir/base/result.h"

namespace weir::sockstat {

Result<void> show(const Settings& settings);

}  // namespace weir::sockstat
