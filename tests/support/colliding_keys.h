// Keys of an attacker who knows that a table hashes with libstdc++'s std::hash: for every beginning
// of a key there is a next word of 8 bytes after which the state of the hash is the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace weir::test {

// The word that follows `before` in a key of `size` bytes.
inline std::uint64_t colliding_word(std::size_t size, std::initializer_list<std::uint64_t> before) {
  constexpr std::uint64_t kMul = 0xc6a4a7935bd1e995;  // std::_Hash_bytes, which is MurmurHash64A
  constexpr std::uint64_t kSeed = 0xc70f6907;
  constexpr std::uint64_t kInverse = [] {  // of kMul modulo 2^64, by Newton's method
    std::uint64_t x = kMul;
    for (int i = 0; i < 6; ++i) x *= 2 - kMul * x;
    return x;
  }();
  const auto shift_mix = [](std::uint64_t v) { return v ^ v >> 47; };  // its own inverse
  std::uint64_t state = kSeed ^ size * kMul;
  for (const std::uint64_t word : before) state = (state ^ shift_mix(word * kMul) * kMul) * kMul;
  return shift_mix(state * kInverse) * kInverse;  // makes the state 0
}

// Keys in the fullest bucket.
template <typename Table>
std::size_t fullest_bucket(const Table& table) {
  std::size_t most = 0;
  for (std::size_t i = 0; i < table.bucket_count(); ++i) {
    most = std::max(most, table.bucket_size(i));
  }
  return most;
}

// The most keys of the fullest bucket when the keys are random. With 65,536 keys in 65,536 buckets
// the fullest has 8 or 9, and more than this once in 10^12 runs.
inline constexpr std::size_t kMostByChance = 20;

}  // namespace weir::test
