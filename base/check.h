// Assertions about the code of weir and of its callers, never about anything that a peer or the
// kernel can cause. Internal.
//
// WEIR_CHECK is on in every build: it prints the place, the condition and the message, then aborts.
// WEIR_DCHECK is for conditions that are too expensive to test in release builds.
#pragma once

#include "weir/base/requirements.h"

#include <string_view>

namespace weir::internal {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

constexpr std::string_view check_message(std::string_view message) { return message; }

}  // namespace weir::internal

// WEIR_CHECK(condition, "message"): the message states the mistake of the caller. With
// weir/base/check_format.h it may be a format and its arguments.
#define WEIR_CHECK(condition, ...)                                      \
  (static_cast<bool>(condition)                                         \
       ? static_cast<void>(0)                                           \
       : ::weir::internal::check_failed(__FILE__, __LINE__, #condition, \
                                        ::weir::internal::check_message(__VA_ARGS__)))

// In release builds the condition is compiled but not evaluated, so that its names count as used.
#ifdef NDEBUG
#define WEIR_DCHECK(condition, ...) static_cast<void>(sizeof(static_cast<bool>(condition)))
#else
#define WEIR_DCHECK(condition, ...) WEIR_CHECK(condition, __VA_ARGS__)
#endif
