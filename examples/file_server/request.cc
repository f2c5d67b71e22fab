#include "file_server/request.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

namespace {

using weir::Error;
using weir::Result;

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (line.empty()) return words;
    const std::string_view word = line.substr(0, line.find(' '));
    words.push_back(word);
    line.remove_prefix(word.size());
  }
}

// The whole of `text` as a number without a sign.
template <typename Number>
std::optional<Number> number_of(std::string_view text, int base) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<std::string> percent_decoded(std::string_view text) {
  std::string plain;
  while (!text.empty()) {
    if (text.front() != '%') {
      plain += text.front();
      text.remove_prefix(1);
      continue;
    }
    const auto byte = number_of<unsigned char>(text.substr(1, 2), 16);
    if (text.size() < 3 || !byte) {
      return std::unexpected(Error("two hexadecimal digits must follow %; write % itself as %25"));
    }
    plain += static_cast<char>(*byte);
    text.remove_prefix(3);
  }
  return plain;
}

Result<Range> range_of(std::string_view word) {
  const std::size_t dash = std::min(word.find('-'), word.size());
  const std::string_view first = word.substr(0, dash);
  const std::string_view last = word.substr(std::min(dash + 1, word.size()));
  Range range{.first = number_of<std::uint64_t>(first, 10),
              .last = number_of<std::uint64_t>(last, 10)};
  const bool first_right = first.empty() ? range.last.has_value() : range.first.has_value();
  const bool last_right = dash == word.size() || range.last.has_value();
  if (!first_right || !last_right) {
    return std::unexpected(Error("a range is FIRST, FIRST-LAST or -COUNT"));
  }
  if (range.first && range.last && *range.last < *range.first) {
    return std::unexpected(Error("the range ends before it begins"));
  }
  return range;
}

}  // namespace

Result<Range::Part> Range::of(std::uint64_t size) const {
  if (!first) {
    const std::uint64_t length = std::min(last.value_or(size), size);
    return Part{.offset = size - length, .length = length};
  }
  if (*first > size || (*first == size && last)) {
    return std::unexpected(Error("the file has " + std::to_string(size) + " bytes"));
  }
  const std::uint64_t rest = size - *first;
  return Part{.offset = *first, .length = last ? std::min(rest - 1, *last - *first) + 1 : rest};
}

Result<Request> parse_request(std::string_view line) {
  const auto words = words_of(line);
  const std::string_view verb = words.empty() ? "" : words.front();
  Request request;
  if (verb == "QUIT" && words.size() == 1) return request;
  if (verb == "LIST" && words.size() <= 2) {
    request.verb = Request::Verb::list;
  } else if (verb == "GET" && (words.size() == 2 || words.size() == 3)) {
    request.verb = Request::Verb::get;
  } else {
    return std::unexpected(
        Error("a request is LIST [FOLDER], GET PATH [FIRST[-LAST] | -COUNT] or QUIT"));
  }
  if (words.size() > 1) {
    auto path = percent_decoded(words[1]);
    if (!path) return std::unexpected(path.error());
    request.path = std::move(*path);
  }
  if (words.size() > 2) {
    const auto range = range_of(words[2]);
    if (!range) return std::unexpected(range.error());
    request.range = *range;
  }
  return request;
}

std::string percent_encoded(std::string_view name) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '%') {
      text += c;
    } else {
      text += '%';
      text += kDigits[byte >> 4];
      text += kDigits[byte & 0xf];
    }
  }
  return text;
}
