// Conversion between the byte order of the host and that of the network (big-endian). Both
// functions are constexpr. [any]
#pragma once

#include "weir/base/requirements.h"

#include <bit>
#include <concepts>
#include <cstdint>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

template <typename T>
concept WireInteger = std::same_as<T, std::uint16_t> || std::same_as<T, std::uint32_t> ||
    std::same_as<T, std::uint64_t>;

// Only these three widths: an argument that would be promoted or narrowed does not compile.
template <WireInteger T>
constexpr T host_to_network(T value) {
  if constexpr (std::endian::native == std::endian::big) {
    return value;
  } else {
    return std::byteswap(value);
  }
}

template <WireInteger T>
constexpr T network_to_host(T value) {
  return host_to_network(value);
}

}  // namespace weir
