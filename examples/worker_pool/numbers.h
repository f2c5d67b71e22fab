// Work that keeps a processor busy. Each gives up once `give_up` says so, which it asks every few
// microseconds, and returns nothing then. [any]
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

using GiveUp = std::function<bool()>;

// How many primes there are up to `most`.
std::optional<std::uint64_t> count_primes(std::uint64_t most, const GiveUp& give_up);

// The prime factors of `number` in order; none of 0 and 1.
std::optional<std::vector<std::uint64_t>> factors(std::uint64_t number, const GiveUp& give_up);
