// A look as JSON.
#pragma once

#include <string>

#include "sockstat/model.h"

namespace weir::sockstat {

// One object on one line, without the line feed.
std::string json_of(const Look& now, const Look* before, const Selection& selection);

}  // namespace weir::sockstat
