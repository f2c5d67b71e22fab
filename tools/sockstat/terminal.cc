#include "sockstat/terminal.h"

#include <fmt/format.h>

#include <algorithm>

namespace weir::sockstat {

std::size_t width_of(std::string_view line) {
  std::size_t width = 0;
  while (!line.empty()) {
    const std::size_t escape = std::min(line.find('\x1b'), line.size());
    width += escape;
    if (escape == line.size()) break;
    line.remove_prefix(escape);
    line.remove_prefix(std::min(line.find('m'), line.size() - 1) + 1);
  }
  return width;
}

std::string in_place(std::string_view text, std::size_t rows, std::size_t columns) {
  std::string out = "\x1b[H";
  std::size_t used = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    const std::size_t width = width_of(line);
    used += std::max<std::size_t>(1, (width + columns - 1) / columns);
    // The last row is for the cursor, or for the number of lines left out.
    if (used + 1 > rows) {
      const auto left = std::ranges::count(text, '\n');
      return out + fmt::format("... {} more lines", left).substr(0, columns - 1) + "\x1b[J";
    }
    out += line;
    // After a full row the cursor is still on the last character, which this would delete.
    if (width == 0 || width % columns != 0) out += "\x1b[K";
    out += '\n';
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return out + "\x1b[J";
}

}  // namespace weir::sockstat
