// SlotId: the id under which a SlotMap stores a value.
#pragma once

#include "weir/base/requirements.h"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>  // std::hash

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

// An id that fits into epoll_event.data.u64.
struct SlotId {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;

  constexpr std::uint64_t to_u64() const { return std::uint64_t{generation} << 32 | slot; }
  static constexpr SlotId from_u64(std::uint64_t value) {
    return {.slot = static_cast<std::uint32_t>(value),
            .generation = static_cast<std::uint32_t>(value >> 32)};
  }
  // False only for SlotId{}. True does not mean that the value is still in the map.
  constexpr explicit operator bool() const { return generation != 0; }

  friend constexpr auto operator<=>(const SlotId&, const SlotId&) = default;
};

}  // namespace weir

template <>
struct std::hash<weir::SlotId> {
  std::size_t operator()(weir::SlotId id) const noexcept {
    // Slots are dense and generations are small: mix both into all bits (Fibonacci hashing).
    return static_cast<std::size_t>((id.to_u64() ^ (id.to_u64() >> 29)) * 0x9E3779B97F4A7C15U);
  }
};
