// A look as people read it.
#pragma once

#include <string>

#include "sockstat/model.h"

namespace weir::sockstat {

// Lines, each with its end. `before`: the look to compare with, or null. `bold`: for a terminal,
// what grows stands out, and what is FULL. What may be cut off at the end of a screen, the
// connections, comes last.
std::string text_of(const Look& now, const Look* before, const Selection& selection, bool bold);

// "87 us", "1.2 s", "3 min", "2 h"
std::string short_time(std::chrono::microseconds time);

}  // namespace weir::sockstat
