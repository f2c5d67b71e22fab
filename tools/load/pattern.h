// The content of the messages, and the check of the bytes that come back. [any]
//
// Byte `at` of stream `stream` is a hash of both numbers. So a byte that was changed, lost,
// duplicated, moved or sent by another connection is detected (with a chance of 255 in 256 for each
// byte).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace weir::load {

void fill_pattern(std::uint64_t stream, std::uint64_t at, std::span<std::byte> into);

// The position of the first byte that differs from the stream; nullopt: none.
std::optional<std::size_t> find_difference(std::uint64_t stream, std::uint64_t at,
                                           std::span<const std::byte> bytes);

}  // namespace weir::load
