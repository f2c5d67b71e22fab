// Text on the screen of a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weir::sockstat {

// The maximum number of columns of a line: the escape sequences of text_of() count as none, and
// each byte counts as one, also in a UTF-8 character of several bytes.
std::size_t width_of(std::string_view line);

// The output that replaces the contents of a screen by these lines. A line that is longer than a
// row continues in the next row. Lines that do not fit on the screen are left out, and the last row
// shows their number.
std::string in_place(std::string_view text, std::size_t rows, std::size_t columns);

}  // namespace weir::sockstat
