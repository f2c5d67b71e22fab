// Strict UTF-8 (RFC 3629): overlong forms, surrogates and values above U+10FFFF are invalid. [any]
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <string_view>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

struct CodePoint {
  char32_t value = 0;
  std::size_t size = 0;  // in bytes; 0: the text does not start with valid UTF-8
};

// The first code point of `text`, which must not be empty.
CodePoint first_code_point(std::string_view text);

bool is_utf8(std::string_view text);

// False for control characters (C0, DEL, C1), line and paragraph separators, and invisible
// characters: zero-width characters and joiners, fillers, tags, soft hyphens, the marks that change
// the direction of writing, the byte order mark. True for variation selectors (U+FE00 to U+FE0F),
// which change the look of the character before them.
bool is_printable(char32_t c);
// True if `text` is valid UTF-8 and every code point is printable.
bool is_printable(std::string_view text);

}  // namespace weir
