// The bytes that are sent, and the check of those that come back. [any]
//
// Byte `at` of stream `stream` is a hash of both, so that a byte that is changed, lost, doubled,
// moved or of another connection does not fit where it arrives (but for one chance in 256 a byte).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace weir::load {

void fill_pattern(std::uint64_t stream, std::uint64_t at, std::span<std::byte> into);

// The first byte of `bytes` that is not the stream's.
std::optional<std::size_t> find_difference(std::uint64_t stream, std::uint64_t at,
                                           std::span<const std::byte> bytes);

}  // namespace weir::load
