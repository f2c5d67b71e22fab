// UTF-8 (RFC 3629), one code point after the other: no overlong forms, no surrogates, nothing above
// U+10FFFF. [any]
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <string_view>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

struct CodePoint {
  char32_t value = 0;
  std::size_t size = 0;  // bytes it takes; 0: the text does not start with valid UTF-8
};

// The first one of a text that is not empty.
CodePoint first_code_point(std::string_view text);

bool is_utf8(std::string_view text);

// False for controls (C0, DEL, C1), for line and paragraph separators, and for what is not seen:
// zero-width characters and joiners, fillers, tags, soft hyphens, the marks that switch the
// direction of writing, the byte order mark. Variation selectors (U+FE00 to U+FE0F), which choose
// how the character before them looks, are printable.
bool is_printable(char32_t c);
// UTF-8, all of it printable.
bool is_printable(std::string_view text);

}  // namespace weir
