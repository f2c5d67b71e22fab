// Memory that the kernel copies into or out of begins at a cache line. The copy is one string
// instruction (rep movsb), and on some processors it takes two to three times as long when the
// block begins elsewhere, as memory of plain operator new does: 16 bytes behind a line.
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

// `size` bytes at a multiple of `alignment`, a power of two. Throws std::bad_alloc. Give it back
// with free_aligned().
//
// Cut out of a larger piece by hand: before version 2.38 the C library never reuses small pieces
// for aligned memory, so small blocks that come and go would double a server's memory. Where the
// piece begins stands before the block.
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
