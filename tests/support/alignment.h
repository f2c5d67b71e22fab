// Where a block of memory begins.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::test {

// Bytes between the last multiple of `alignment` and `at`; 0 when `at` is such a multiple.
inline std::size_t beyond_multiple_of(std::size_t alignment, const void* at) {
  return reinterpret_cast<std::uintptr_t>(at) % alignment;
}

}  // namespace weir::test
