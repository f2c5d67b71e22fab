// For programs that print with fmt: an Errno prints as "Connection refused (ECONNREFUSED)", an
// Error as its message. This is the only installed header that needs fmt; no other header
// includes it.
#pragma once

#include "weir/base/requirements.h"

#include <fmt/format.h>

#include "weir/base/result.h"

template <>
struct fmt::formatter<weir::Errno> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(weir::Errno code, Context& context) const {
    return fmt::format_to(context.out(), "{} ({})", code.message(), code.name());
  }
};

template <>
struct fmt::formatter<weir::Error> : fmt::formatter<fmt::string_view> {
  template <typename Context>
  auto format(const weir::Error& error, Context& context) const {
    return fmt::formatter<fmt::string_view>::format(error.message(), context);
  }
};
