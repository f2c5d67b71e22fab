#include "weir/base/slot_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace weir {
namespace {

TEST(SlotId, RoundTripsThroughU64) {
  for (const std::uint32_t slot : {0U, 1U, 255U, 256U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    for (const std::uint32_t generation : {0U, 1U, 0x80000000U, 0xFFFFFFFFU}) {
      const SlotId id{.slot = slot, .generation = generation};
      EXPECT_EQ(SlotId::from_u64(id.to_u64()), id);
      EXPECT_EQ(static_cast<bool>(id), generation != 0);
    }
  }
}

TEST(SlotId, OrdersAndHashes) {
  const SlotId a{.slot = 1, .generation = 2};
  const SlotId b{.slot = 2, .generation = 1};
  EXPECT_LT(a, b);
  std::unordered_set<SlotId> ids{a, b, a};
  EXPECT_EQ(ids.size(), 2U);
  EXPECT_TRUE(ids.contains(b));
}

TEST(SlotMap, EmptyHasNoMemoryAndFindsNothing) {
  SlotMap<int> map;
  EXPECT_EQ(map.capacity(), 0U);
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.find(SlotId{}), nullptr);
  EXPECT_EQ(map.find(SlotId::from_u64(~std::uint64_t{0})), nullptr);
  EXPECT_FALSE(map.erase(SlotId{.slot = 0, .generation = 1}));
  EXPECT_LE(sizeof map, 64U);
}

TEST(SlotMap, FindsWhatWasInserted) {
  SlotMap<std::string> map;
  const SlotId a = map.insert("a");
  const SlotId b = map.insert("b");
  ASSERT_NE(map.find(a), nullptr);
  EXPECT_EQ(*map.find(a), "a");
  EXPECT_EQ(*std::as_const(map).find(b), "b");
  EXPECT_EQ(map.size(), 2U);
}

TEST(SlotMap, StaleIdNeverMatchesTheNextTenant) {
  SlotMap<int> map;
  std::vector<SlotId> stale;
  std::set<SlotId> given;
  // Enough rounds that every slot of the page has many tenants.
  for (int round = 0; round < 20 * static_cast<int>(SlotMap<int>::kPageSize); ++round) {
    const SlotId id = map.insert(round);
    EXPECT_TRUE(given.insert(id).second) << "given out twice";
    EXPECT_TRUE(map.erase(id));
    EXPECT_FALSE(map.erase(id));
    stale.push_back(id);
  }
  EXPECT_EQ(map.capacity(), SlotMap<int>::kPageSize);
  for (std::uint32_t i = 0; i < SlotMap<int>::kPageSize; ++i) map.insert(-1);
  for (const SlotId id : stale) EXPECT_EQ(map.find(id), nullptr);
}

TEST(SlotMap, ForgedIdsNeverMatch) {
  SlotMap<int> map;
  const SlotId live = map.insert(1);
  const SlotId dead = map.insert(2);
  map.erase(dead);
  for (std::uint32_t slot = 0; slot < 600; ++slot) {
    for (const std::uint32_t generation : {0U, 1U, 2U, 3U, 0xFFFFFFFFU}) {
      const SlotId id{.slot = slot, .generation = generation};
      EXPECT_EQ(map.find(id) != nullptr, id == live) << slot << " " << generation;
    }
  }
}

TEST(SlotMap, GenerationZeroIsNeverGivenOut) {
  SlotMap<int> map(std::numeric_limits<std::uint32_t>::max() - 1);
  for (int i = 0; i < 2000; ++i) {
    const SlotId id = map.insert(i);
    EXPECT_NE(id.generation, 0U);
    map.erase(id);
  }
}

TEST(SlotMap, SlotOutOfGenerationsIsRetired) {
  SlotMap<int> map(std::numeric_limits<std::uint32_t>::max());
  std::set<SlotId> given;
  for (int i = 0; i < 1000; ++i) {
    const SlotId id = map.insert(i);
    EXPECT_TRUE(given.insert(id).second);
    EXPECT_TRUE(map.erase(id));
    EXPECT_EQ(map.find(id), nullptr);
    // What its counter would wrap to.
    EXPECT_EQ(map.find({.slot = id.slot, .generation = 0}), nullptr);
    EXPECT_EQ(map.find({.slot = id.slot, .generation = 1}), nullptr);
  }
  EXPECT_EQ(map.capacity(), 1024U);
}

TEST(SlotMap, ReusesFreeSlotsFirstInFirstOut) {
  SlotMap<int> map;
  std::vector<SlotId> ids;
  for (std::uint32_t i = 0; i < SlotMap<int>::kPageSize; ++i) ids.push_back(map.insert(0));
  for (const std::size_t i : {7U, 3U, 200U}) map.erase(ids[i]);
  EXPECT_EQ(map.insert(0).slot, 7U);
  EXPECT_EQ(map.insert(0).slot, 3U);
  EXPECT_EQ(map.insert(0).slot, 200U);
}

TEST(SlotMap, ValuesNeverMove) {
  SlotMap<int> map;
  const SlotId first = map.insert(42);
  const int* address = map.find(first);
  for (int i = 0; i < 10'000; ++i) map.insert(i);
  EXPECT_EQ(map.find(first), address);
  EXPECT_EQ(*address, 42);
}

TEST(SlotMap, DestroysValuesOnceOnEraseAndAtTheEnd) {
  const auto token = std::make_shared<int>(0);
  {
    SlotMap<std::shared_ptr<int>> map;
    std::vector<SlotId> ids;
    for (int i = 0; i < 600; ++i) ids.push_back(map.insert(token));
    EXPECT_EQ(token.use_count(), 601);
    for (int i = 0; i < 100; ++i) map.erase(ids[static_cast<std::size_t>(i)]);
    EXPECT_EQ(token.use_count(), 501);
    map.clear();
    EXPECT_EQ(token.use_count(), 1);
    map.insert(token);
  }
  EXPECT_EQ(token.use_count(), 1);
}

TEST(SlotMap, TakesMoveOnlyValues) {
  SlotMap<std::unique_ptr<int>> map;
  const SlotId id = map.insert(std::make_unique<int>(5));
  EXPECT_EQ(**map.find(id), 5);
}

TEST(SlotMap, ADestructorMayUseTheMap) {
  struct Nosy {
    SlotMap<std::unique_ptr<Nosy>>* map;
    SlotId self;
    ~Nosy() {
      EXPECT_EQ(map->find(self), nullptr);
      EXPECT_FALSE(map->erase(self));
    }
  };
  SlotMap<std::unique_ptr<Nosy>> map;
  auto nosy = std::make_unique<Nosy>(&map, SlotId{});
  Nosy* raw = nosy.get();
  raw->self = map.insert(std::move(nosy));
  map.erase(raw->self);
  EXPECT_TRUE(map.empty());
}

TEST(SlotMap, ForEachAllowsEraseAndInsert) {
  SlotMap<int> map;
  std::vector<SlotId> ids;
  for (int i = 0; i < 300; ++i) ids.push_back(map.insert(i));
  int visited = 0;
  map.for_each([&](SlotId id, int& value) {
    ++visited;
    EXPECT_EQ(map.find(id), &value);
    if (value == 0) {
      for (std::size_t i = 100; i < 200; ++i) map.erase(ids[i]);
    }
    map.erase(id);
  });
  EXPECT_EQ(visited, 200);
  EXPECT_TRUE(map.empty());
}

// Random operations against std::map. Erased ids are asked for for ever.
TEST(SlotMap, BehavesLikeItsModel) {
  for (const unsigned seed : {1U, 2U, 3U, 4U}) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    SlotMap<std::string> map;
    std::map<SlotId, std::string> model;
    std::vector<SlotId> every;
    for (int step = 0; step < 20'000; ++step) {
      // The bias swings, so that the map fills and empties.
      const bool grow = (step / 2500) % 2 == 0;
      const unsigned dice = static_cast<unsigned>(random() % 100);
      if (dice < (grow ? 60U : 30U)) {
        const std::string value = std::to_string(step);
        const SlotId id = map.insert(value);
        ASSERT_TRUE(model.emplace(id, value).second);
        every.push_back(id);
      } else if (!every.empty()) {
        const SlotId id = every[random() % every.size()];
        const auto known = model.find(id);
        const std::string* value = map.find(id);
        ASSERT_EQ(value != nullptr, known != model.end());
        if (value != nullptr) {
          ASSERT_EQ(*value, known->second);
          model.erase(known);
          ASSERT_TRUE(map.erase(id));
        } else {
          ASSERT_FALSE(map.erase(id));
        }
      }
      ASSERT_EQ(map.size(), model.size());
      if (step % 100 == 0) map.check_all();
    }
    map.check_all();
    std::map<SlotId, std::string> seen;
    map.for_each([&](SlotId id, std::string& value) { seen.emplace(id, value); });
    EXPECT_EQ(seen, model);
  }
}

TEST(SlotMapDeathTest, FirstGenerationZeroIsABug) {
  EXPECT_DEATH(SlotMap<int>{0}, "SlotMap: generation 0 means");
}

}  // namespace
}  // namespace weir
