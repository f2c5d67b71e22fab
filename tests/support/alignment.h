// Where a block of memory begins.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::test {

// Bytes from the last multiple of `alignment` to `at`; 0: it begins there.
inline std::size_t beyond_multiple_of(std::size_t alignment, const void* at) {
  return reinterpret_cast<std::uintptr_t>(at) % alignment;
}

}  // namespace weir::test
