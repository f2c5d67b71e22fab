// Work that keeps a processor busy. Each function calls `cancelled` every few microseconds, and
// returns nullopt soon after it has returned true. [any]
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

using Cancelled = std::function<bool()>;

// The number of primes up to `most`.
std::optional<std::uint64_t> count_primes(std::uint64_t most, const Cancelled& cancelled);

// The prime factors of `number` in ascending order; empty for 0 and 1.
std::optional<std::vector<std::uint64_t>> factors(std::uint64_t number, const Cancelled& cancelled);
