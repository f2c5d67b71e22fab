// Assertions about our own and our caller's code, never about what a peer or the kernel can cause.
//
// WEIR_CHECK is on in every build: it prints the place, the condition and the message, then aborts.
// WEIR_DCHECK is for conditions too costly to test in release builds.
#pragma once

#include "weir/base/requirements.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace weir::internal {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

template <typename... Args>
[[noreturn]] void check_failed_with(const char* file, int line, const char* condition,
                                    fmt::format_string<Args...> format, Args&&... args) {
  check_failed(file, line, condition, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace weir::internal

// WEIR_CHECK(condition, "format {}", args...): the message says what the caller did wrong.
#define WEIR_CHECK(condition, ...) \
  (static_cast<bool>(condition)    \
       ? static_cast<void>(0)      \
       : ::weir::internal::check_failed_with(__FILE__, __LINE__, #condition, __VA_ARGS__))

#ifdef NDEBUG
#define WEIR_DCHECK(condition, ...) static_cast<void>(0)
#else
#define WEIR_DCHECK(condition, ...) WEIR_CHECK(condition, __VA_ARGS__)
#endif
