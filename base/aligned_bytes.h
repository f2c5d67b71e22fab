// Memory that begins at a cache line, for blocks that the kernel copies into or out of. The kernel
// copies with one string instruction (rep movsb), which takes two to three times as long on some
// processors when the block begins elsewhere. Memory of plain operator new is aligned to 16 bytes
// only.
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

namespace weir::internal {

inline constexpr std::size_t kCacheLine = 64;
inline constexpr std::size_t kPage = 4096;

// `size` bytes at a multiple of `alignment`, a power of two. Throws std::bad_alloc. Free it with
// free_aligned().
//
// The block is cut out of a larger piece here, not by aligned operator new: glibc before 2.38 does
// not reuse small freed pieces for aligned memory, so short-lived small blocks would double the
// memory of a server. The address of the piece is stored in front of the block.
[[nodiscard]] inline std::byte* allocate_aligned(std::size_t size,
                                                 std::size_t alignment = kCacheLine) {
  static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= sizeof(void*));
  if (size > (std::numeric_limits<std::size_t>::max)() - alignment) throw std::bad_alloc();
  auto* const piece = static_cast<std::byte*>(::operator new(size + alignment));
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(piece) % alignment;
  std::byte* const block = piece + (alignment - beyond);
  std::memcpy(block - sizeof piece, static_cast<const void*>(&piece), sizeof piece);
  return block;
}
inline void free_aligned(void* memory) noexcept {
  if (memory == nullptr) return;
  void* piece = nullptr;
  std::memcpy(static_cast<void*>(&piece), static_cast<std::byte*>(memory) - sizeof piece,
              sizeof piece);
  ::operator delete(piece);
}

struct FreeAligned {
  void operator()(std::byte* memory) const noexcept { free_aligned(memory); }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;

// The bytes are not initialised.
[[nodiscard]] inline AlignedBytes make_aligned_bytes(std::size_t size,
                                                     std::size_t alignment = kCacheLine) {
  return AlignedBytes(allocate_aligned(size, alignment));
}

}  // namespace weir::internal
