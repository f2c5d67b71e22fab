#include "weir/net/reactor/internal/slow_turns.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace weir::internal {
namespace {

TEST(SlowTurns, WhatWasNotedInOneCountsFromItsEnd) {
  SlowTurns turns;
  EXPECT_EQ(turns.latest(5), 5u);
  turns.note(10, 30);
  turns.note(40, 41);
  EXPECT_EQ(turns.latest(9), 9u);
  EXPECT_EQ(turns.latest(10), 30u);
  EXPECT_EQ(turns.latest(11), 11u);
  EXPECT_EQ(turns.latest(40), 41u);
  EXPECT_EQ(turns.latest(41), 41u);
}

// Never early, however many there were; and the long ones make no other note late.
TEST(SlowTurns, ManyAreRememberedInBoundedMemory) {
  SlowTurns turns;
  std::minstd_rand random(7);
  struct Turn {
    Tick began, ended;
  };
  std::vector<Turn> all;
  Tick now = 0xffff0000;  // passes zero
  for (int i = 0; i < 10'000; ++i) {
    const Tick took = i % 1000 == 999 ? 5000 : 1 + static_cast<Tick>(random() % 3);
    all.push_back({now, now + took});
    turns.note(now, now + took);
    now += took + static_cast<Tick>(random() % 50);
  }
  for (const Turn& turn : all) {
    const auto late = static_cast<std::int32_t>(turns.latest(turn.began) - turn.ended);
    EXPECT_GE(late, 0);
    EXPECT_LE(late, 2);
  }
}

// Ticks come again after 417 days.
TEST(SlowTurns, OldOnesAreForgotten) {
  SlowTurns turns;
  turns.note(100, 200);
  turns.note(100 + 0x40000000, 101 + 0x40000000);
  EXPECT_EQ(turns.latest(100), 100u);
  EXPECT_EQ(turns.latest(100 + 0x40000000), 101u + 0x40000000);
}

}  // namespace
}  // namespace weir::internal
