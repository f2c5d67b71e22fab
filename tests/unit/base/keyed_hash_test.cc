#include "weir/base/keyed_hash.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "support/colliding_keys.h"

namespace weir {
namespace {

constexpr internal::HashKey kKey{.low = 0x0706050403020100, .high = 0x0f0e0d0c0b0a0908};

std::array<std::byte, 64> counted() {
  std::array<std::byte, 64> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

// The vectors of the authors' reference implementation.
TEST(KeyedHash, IsSipHash) {
  const auto bytes = counted();
  const auto of = [&](std::size_t size) { return std::span(bytes).first(size); };
  EXPECT_EQ((internal::sip_hash<2, 4>(kKey, of(0))), 0x726fdb47dd0e0e31U);
  EXPECT_EQ((internal::sip_hash<2, 4>(kKey, of(1))), 0x74f839c593dc67fdU);
  EXPECT_EQ((internal::sip_hash<2, 4>(kKey, of(8))), 0x93f5f5799a932462U);
  EXPECT_EQ((internal::sip_hash<2, 4>(kKey, of(15))), 0xa129ca6149be45e5U);
  EXPECT_EQ((internal::sip_hash<2, 4>(kKey, of(63))), 0x958a324ceb064572U);
  EXPECT_EQ((internal::sip_hash<1, 3>(kKey, of(0))), 0xabac0158050fc4dcU);
  EXPECT_EQ((internal::sip_hash<1, 3>(kKey, of(7))), 0xd3927d989bb11140U);
  EXPECT_EQ((internal::sip_hash<1, 3>(kKey, of(16))), 0xcc4fdd1a7d908b66U);
  EXPECT_EQ((internal::sip_hash<1, 3>(kKey, of(28))), 0xfb0bed02ef6cd00dU);
}

TEST(KeyedHash, TheKeyIsDrawnOnce) {
  const internal::HashKey& key = internal::hash_key();
  EXPECT_FALSE(key.low == 0 && key.high == 0);
  EXPECT_EQ(&internal::hash_key(), &key);
  EXPECT_EQ(keyed_hash("topic"), keyed_hash(std::string("topic")));
  EXPECT_EQ(keyed_hash("topic"),
            (internal::sip_hash<1, 3>(key, std::as_bytes(std::span("topic", 5)))));
  EXPECT_NE(keyed_hash("topic"), keyed_hash("topic "));
}

TEST(KeyedHash, KeysThatMeetUnderTheOrdinaryHashAreSpread) {
  std::unordered_set<std::string, KeyedHash, std::equal_to<>> table;
  std::set<std::size_t> ordinary;
  for (std::uint64_t i = 0; i < 65'536; ++i) {
    const std::array<std::uint64_t, 2> words{i, test::colliding_word(16, {i})};
    std::string key(sizeof(words), '\0');
    std::memcpy(key.data(), words.data(), sizeof(words));
    ordinary.insert(std::hash<std::string>()(key));
    table.insert(std::move(key));
  }
  EXPECT_EQ(ordinary.size(), 1U) << "these keys are not what they should be";
  EXPECT_EQ(table.size(), 65'536U);
  EXPECT_LE(test::fullest_bucket(table), test::kMostByChance);
  EXPECT_TRUE(table.contains(std::string_view(*table.begin())));
}

}  // namespace
}  // namespace weir
