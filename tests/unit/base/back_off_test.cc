#include "weir/base/back_off.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using internal::BackOff;

TEST(BackOff, DoublesUpToItsMost) {
  BackOff back_off(100ms, 1s, 0);
  for (const Duration expected : {100ms, 200ms, 400ms, 800ms, 1000ms, 1000ms}) {
    EXPECT_EQ(back_off.next(0.7), expected);
  }
  back_off.reset();
  EXPECT_EQ(back_off.next(0), 100ms);
}

TEST(BackOff, LeavesOutAPartByChance) {
  BackOff back_off(100ms, 100ms, 0.5);
  EXPECT_EQ(back_off.next(0), 100ms);
  EXPECT_EQ(back_off.next(0.5), 75ms);
  EXPECT_GE(back_off.next(0.999999), 50ms);
}

TEST(BackOff, TakesNoNonsense) {
  EXPECT_EQ(BackOff(0ms, 0ms, 1).next(0.99), BackOff::kLeast);
  EXPECT_EQ(BackOff(-5s, -9s, -1).next(0.5), BackOff::kLeast);
  EXPECT_EQ(BackOff(1s, 1ms, std::numeric_limits<double>::quiet_NaN()).next(0.5), 1s);
  EXPECT_EQ(BackOff(1s, 1s, 7).next(0.999999999), 1ms);
  BackOff longest(Duration::max() / 2, Duration::max(), 0);
  static_cast<void>(longest.next(0));
  EXPECT_EQ(longest.next(0), Duration::max() / 2 * 2);
  EXPECT_GT(longest.next(0), Duration::zero());
}

TEST(BackOff, WithoutJitterNeedsNoRandomNumber) {
  BackOff back_off(1ms, 4ms);
  for (const Duration expected : {1ms, 2ms, 4ms, 4ms}) EXPECT_EQ(back_off.next(), expected);
}

}  // namespace
}  // namespace weir::test
