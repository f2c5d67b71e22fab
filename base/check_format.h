// WEIR_CHECK(condition, "format {}", args...). Internal. Separate from check.h so that templates
// can use checks without fmt.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "weir/base/check.h"

namespace weir::internal {

template <typename First, typename... Rest>
std::string check_message(fmt::format_string<First, Rest...> format, First&& first,
                          Rest&&... rest) {
  return fmt::format(format, std::forward<First>(first), std::forward<Rest>(rest)...);
}

}  // namespace weir::internal
