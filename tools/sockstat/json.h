// A look as programs read it.
#pragma once

#include <string>

#include "sockstat/model.h"

namespace weir::sockstat {

// One object on one line, without its end.
std::string json_of(const Look& now, const Look* before, const Selection& selection);

}  // namespace weir::sockstat
