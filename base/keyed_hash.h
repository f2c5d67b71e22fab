// Hashes for tables whose keys a peer chooses: addresses, names, topics. If the hash is known, as
// std::hash is, a peer can compute keys that all fall into one bucket, and each look-up then takes
// time linear in the number of keys. This hash (SipHash-1-3) uses a random key of the process, so
// that a peer cannot predict collisions. [any]
//
//   std::unordered_map<std::string, Topic, weir::KeyedHash, std::equal_to<>> topics;
#pragma once

#include "weir/base/requirements.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/wraps.h"

namespace weir::internal {

struct HashKey {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};

// The key of this process, chosen at the first call: 128 bits from getrandom(2) or, if that has
// none, those that the kernel gave the process at its start (AT_RANDOM). A child of fork(2) keeps
// the key of its parent.
const HashKey& hash_key();

// SipHash (Aumasson and Bernstein, 2012) with kWord rounds for each word of the message and kEnd
// rounds at the end.
template <int kWord, int kEnd>
WEIR_WRAPS std::uint64_t sip_hash(const HashKey& key, std::span<const std::byte> bytes) {
  std::uint64_t a = key.low ^ 0x736f6d6570736575;
  std::uint64_t b = key.high ^ 0x646f72616e646f6d;
  std::uint64_t c = key.low ^ 0x6c7967656e657261;
  std::uint64_t d = key.high ^ 0x7465646279746573;
  const auto mix = [&](int rounds) WEIR_WRAPS {
    for (int i = 0; i < rounds; ++i) {
      a += b;
      c += d;
      b = std::rotl(b, 13) ^ a;
      d = std::rotl(d, 16) ^ c;
      a = std::rotl(a, 32);
      a += d;
      c += b;
      d = std::rotl(d, 21) ^ a;
      b = std::rotl(b, 17) ^ c;
      c = std::rotl(c, 32);
    }
  };
  const auto take = [&](std::uint64_t word) {
    if constexpr (std::endian::native == std::endian::big) word = std::byteswap(word);
    d ^= word;
    mix(kWord);
    a ^= word;
  };
  const std::size_t whole = bytes.size() / sizeof(std::uint64_t) * sizeof(std::uint64_t);
  for (std::size_t at = 0; at < whole; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    take(word);
  }
  std::array<std::byte, sizeof(std::uint64_t)> rest{};
  if (bytes.size() > whole) std::memcpy(rest.data(), bytes.data() + whole, bytes.size() - whole);
  rest.back() = static_cast<std::byte>(bytes.size());  // the length, modulo 256
  take(std::bit_cast<std::uint64_t>(rest));
  c ^= 0xff;
  mix(kEnd);
  return a ^ b ^ c ^ d;
}

}  // namespace weir::internal

namespace WEIR_EXPORT weir {

std::uint64_t keyed_hash(std::span<const std::byte> bytes);

inline std::uint64_t keyed_hash(std::string_view text) {
  return keyed_hash(std::as_bytes(std::span(text)));
}

// For the standard containers, with std::string, std::string_view and literals as keys.
struct KeyedHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return static_cast<std::size_t>(keyed_hash(text));
  }
};

}  // namespace weir
