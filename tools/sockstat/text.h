// A look as text for people.
#pragma once

#include <string>

#include "sockstat/model.h"

namespace weir::sockstat {

// Lines, each with its line feed. `before`: the look to compare with, or null. `bold`: for a
// terminal; numbers that grow and FULL are bold. The connections come last, because they may be cut
// off at the end of a screen.
std::string text_of(const Look& now, const Look* before, const Selection& selection, bool bold);

// "87 us", "1.2 s", "3 min", "2 h"
std::string short_time(std::chrono::microseconds time);

}  // namespace weir::sockstat
