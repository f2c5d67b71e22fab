// What a client of the file server asks for, as a line of text. [any]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weir/base/result.h"

// FIRST-LAST, FIRST (to the end) or -COUNT (the last ones): bytes of a file, counted from 0.
struct Range {
  std::optional<std::uint64_t> first;
  std::optional<std::uint64_t> last;  // the last byte itself; without `first`, how many

  struct Part {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  // What of it a file of this size has. A part that begins beyond the end is an error.
  weir::Result<Part> of(std::uint64_t size) const;
};

struct Request {
  enum class Verb : std::uint8_t { list, get, quit };
  Verb verb = Verb::quit;
  std::string path;  // as the file system knows it
  Range range;
};

weir::Result<Request> parse_request(std::string_view line);

// Names are written as in URLs: a space, a percent sign, control characters and all that is not
// ASCII become %20 and the like. So a name is one word, and harmless on a terminal.
std::string percent_encoded(std::string_view name);
