#include "chat/text.h"

#include <algorithm>

#include "weir/base/utf8.h"

namespace chat {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool in_nickname(char c) {
  return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

}  // namespace

bool is_nickname(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNickname && std::ranges::all_of(text, in_nickname);
}

bool IgnoreCase::operator()(std::string_view a, std::string_view b) const {
  return std::ranges::lexicographical_compare(a, b, {}, lower, lower);
}

std::string printable(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const weir::CodePoint next = weir::first_code_point(utf8);
    if (next.size == 0) break;
    if (next.value == '\t') {
      out += ' ';
    } else if (weir::is_printable(next.value)) {
      out += utf8.substr(0, next.size);
    }
    utf8.remove_prefix(next.size);
  }
  return out;
}

std::string_view without_spaces_around(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

std::string_view take_word(std::string_view& text) {
  text = without_spaces_around(text);
  const std::string_view word = text.substr(0, text.find(' '));
  text = without_spaces_around(text.substr(word.size()));
  return word;
}

}  // namespace chat
