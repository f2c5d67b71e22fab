// The requests to the file server, each a line of text. [any]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weir/base/result.h"

// Bytes of a file, counted from 0: FIRST-LAST, FIRST (to the end) or -COUNT (the last COUNT bytes).
struct Range {
  std::optional<std::uint64_t> first;
  std::optional<std::uint64_t> last;  // the last byte, inclusive; without `first`: COUNT

  struct Part {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  // The part of the range that a file of this size has. An error if it begins beyond the end.
  weir::Result<Part> of(std::uint64_t size) const;
};

struct Request {
  enum class Verb : std::uint8_t { list, get, quit };
  Verb verb = Verb::quit;
  std::string path;  // as the file system knows it
  Range range;
};

weir::Result<Request> parse_request(std::string_view line);

// Encodes a name as in URLs: spaces, percent signs, control characters and non-ASCII bytes become
// %20 and so on. The result is one word and safe to print on a terminal.
std::string percent_encoded(std::string_view name);
