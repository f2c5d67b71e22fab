// Marks memory that must not be accessed. Under AddressSanitizer an access is an error, so that a
// view that was kept too long is found at its first use. Costs nothing in other builds.
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <span>

// WEIR_POISON is defined for every target that links weir::base when weir itself is built with
// ASan, so that the library and its users agree.
#ifdef WEIR_POISON
#include <sanitizer/asan_interface.h>
#endif

namespace weir::internal {

#ifdef WEIR_POISON
inline void poison(std::span<const std::byte> bytes) {
  ASAN_POISON_MEMORY_REGION(bytes.data(), bytes.size());
}
inline void unpoison(std::span<const std::byte> bytes) {
  ASAN_UNPOISON_MEMORY_REGION(bytes.data(), bytes.size());
}
#else
inline void poison(std::span<const std::byte>) {}
inline void unpoison(std::span<const std::byte>) {}
#endif

}  // namespace weir::internal
