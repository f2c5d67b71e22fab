// Text of the chat: valid nicknames, and text that is safe for a terminal. [any]
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace chat {

inline constexpr std::size_t kMaxNickname = 24;

bool is_nickname(std::string_view text);

// Orders nicknames without regard to upper and lower case.
struct IgnoreCase {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const;
};

// UTF-8 that is safe for every terminal: a tab becomes a space, and other characters that are not
// printable (controls, direction marks, line separators) are removed.
std::string printable(std::string_view utf8);

std::string_view without_spaces_around(std::string_view text);

// Removes the first word and the spaces around it from the front of `text`; returns the word.
std::string_view take_word(std::string_view& text);

}  // namespace chat
