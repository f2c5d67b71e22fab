#include "weir/base/utf8.h"

#include <algorithm>
#include <array>

namespace weir {

CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t size = lead < 0xC2   ? 0
                           : lead < 0xE0 ? 2
                           : lead < 0xF0 ? 3
                           : lead < 0xF5 ? 4
                                         : 0;
  if (size == 0 || size > text.size()) return {};
  char32_t value = lead & (0x7FU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kSmallest.at(size) || surrogate || value > 0x10FFFF) return {};
  return {value, size};
}

namespace {

template <typename Accepts>
bool all_code_points(std::string_view text, Accepts&& accepts) {
  while (!text.empty()) {
    const CodePoint first = first_code_point(text);
    if (first.size == 0 || !accepts(first.value)) return false;
    text.remove_prefix(first.size);
  }
  return true;
}

}  // namespace

bool is_utf8(std::string_view text) {
  return all_code_points(text, [](char32_t) { return true; });
}

namespace {

// The invisible characters: Default_Ignorable_Code_Point of Unicode 15.1, the separators of lines
// and paragraphs, the interlinear annotations, and the noncharacters.
struct Range {
  char32_t first;
  char32_t last;
};
constexpr std::array<Range, 18> kUnseen = {{{0x00AD, 0x00AD},
                                            {0x034F, 0x034F},
                                            {0x061C, 0x061C},
                                            {0x115F, 0x1160},
                                            {0x17B4, 0x17B5},
                                            {0x180B, 0x180F},
                                            {0x200B, 0x200F},
                                            {0x2028, 0x202E},
                                            {0x2060, 0x206F},
                                            {0x3164, 0x3164},
                                            {0xFDD0, 0xFDEF},
                                            {0xFEFF, 0xFEFF},
                                            {0xFFA0, 0xFFA0},
                                            {0xFFF0, 0xFFFB},
                                            {0xFFFE, 0xFFFF},
                                            {0x1BCA0, 0x1BCA3},
                                            {0x1D173, 0x1D17A},
                                            {0xE0000, 0xE0FFF}}};

}  // namespace

bool is_printable(char32_t c) {
  if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return false;
  return std::none_of(kUnseen.begin(), kUnseen.end(),
                      [c](const Range& range) { return range.first <= c && c <= range.last; });
}

bool is_printable(std::string_view text) {
  return all_code_points(text, [](char32_t c) { return is_printable(c); });
}

}  // namespace weir
