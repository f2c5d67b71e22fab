// What the people of the chat write: what may be a nickname, and what may reach a terminal. [any]
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace chat {

inline constexpr std::size_t kMaxNickname = 24;

bool is_nickname(std::string_view text);

// An order of nicknames in which upper and lower case are the same.
struct IgnoreCase {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const;
};

// UTF-8 fit for anybody's terminal: a tab becomes a space, and what else is not printable
// (controls, marks that turn the direction of writing, line separators) is left out.
std::string printable(std::string_view utf8);

std::string_view without_spaces_around(std::string_view text);

// Takes the first word, and the spaces around it, off the front of `text`.
std::string_view take_word(std::string_view& text);

}  // namespace chat
