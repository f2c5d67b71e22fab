// Memory that the kernel copies into or out of begins at a cache line. The copy is one string
// instruction (rep movsb), and on some processors it takes two to three times as long when the
// block begins elsewhere, as memory of plain operator new does: 16 bytes behind a line.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace weir::internal {

inline constexpr std::size_t kCacheLine = 64;
inline constexpr std::size_t kPage = 4096;

// `size` bytes at a multiple of `alignment`, a power of two. Throws std::bad_alloc. Give it back
// with free_aligned() and the same alignment.
[[nodiscard]] inline std::byte* allocate_aligned(std::size_t size,
                                                 std::size_t alignment = kCacheLine) {
  return static_cast<std::byte*>(::operator new(size, std::align_val_t(alignment)));
}
inline void free_aligned(void* memory, std::size_t alignment = kCacheLine) noexcept {
  ::operator delete(memory, std::align_val_t(alignment));
}

struct FreeAligned {
  std::size_t alignment = kCacheLine;
  void operator()(std::byte* memory) const noexcept { free_aligned(memory, alignment); }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;

// The bytes are not initialised.
[[nodiscard]] inline AlignedBytes make_aligned_bytes(std::size_t size,
                                                     std::size_t alignment = kCacheLine) {
  return {allocate_aligned(size, alignment), FreeAligned{alignment}};
}

}  // namespace weir::internal
