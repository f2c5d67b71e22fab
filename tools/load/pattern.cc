#include "load/pattern.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace weir::load {

namespace {

constexpr std::size_t kWord = 8;

// The finisher of splitmix64.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr std::uint64_t word_at(std::uint64_t key, std::uint64_t index) {
  return mix(key + index * 0x9e3779b97f4a7c15);
}

}  // namespace

void fill_pattern(std::uint64_t stream, std::uint64_t at, std::span<std::byte> into) {
  const std::uint64_t key = mix(stream * 0xd1342543de82ef95 + 1);
  std::uint64_t index = at / kWord;
  if (const std::size_t skip = at % kWord; skip != 0) {
    const std::uint64_t word = word_at(key, index++);
    const std::size_t length = std::min(kWord - skip, into.size());
    std::memcpy(into.data(), reinterpret_cast<const std::byte*>(&word) + skip, length);
    into = into.subspan(length);
  }
  while (!into.empty()) {
    const std::uint64_t word = word_at(key, index++);
    const std::size_t length = std::min(kWord, into.size());
    std::memcpy(into.data(), &word, length);
    into = into.subspan(length);
  }
}

std::optional<std::size_t> find_difference(std::uint64_t stream, std::uint64_t at,
                                           std::span<const std::byte> bytes) {
  std::array<std::byte, 4096> expected;
  for (std::size_t done = 0; done < bytes.size();) {
    const std::size_t length = std::min(bytes.size() - done, expected.size());
    fill_pattern(stream, at + done, std::span(expected).first(length));
    if (std::memcmp(expected.data(), bytes.data() + done, length) != 0) {
      const auto here = bytes.subspan(done, length);
      const auto differs = std::ranges::mismatch(here, expected);
      return done + static_cast<std::size_t>(differs.in1 - here.begin());
    }
    done += length;
  }
  return std::nullopt;
}

}  // namespace weir::load
