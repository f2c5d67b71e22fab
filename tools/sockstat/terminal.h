// Text on the screen of a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weir::sockstat {

// How many columns a line takes, at most: escapes as text_of() makes them take none, and a byte
// takes one, though a letter of UTF-8 has several.
std::size_t width_of(std::string_view line);

// What rewrites a screen from its top with these lines, over what was there. Lines that are longer
// than the screen is wide go on in its next row; those that have no place are left out, and the
// last row says how many.
std::string in_place(std::string_view text, std::size_t rows, std::size_t columns);

}  // namespace weir::sockstat
