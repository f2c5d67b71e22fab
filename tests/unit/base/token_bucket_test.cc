#include "weir/base/token_bucket.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using internal::TokenBucket;

int take_all(TokenBucket& bucket, TimePoint now) {
  int taken = 0;
  while (bucket.take(now) == Duration::zero()) ++taken;
  return taken;
}

TEST(TokenBucket, HoldsABurstAndFillsAtItsRate) {
  TokenBucket bucket(100, 100ms);
  TimePoint now = Clock::now();
  EXPECT_EQ(take_all(bucket, now), 10);
  EXPECT_EQ(bucket.take(now), 10ms);
  EXPECT_NE(bucket.take(now + 9ms), Duration::zero());
  EXPECT_EQ(bucket.take(now + 10ms), Duration::zero());
  bucket.give_back();
  EXPECT_EQ(bucket.take(now + 10ms), Duration::zero());
  now += 1h;  // what was not used is not saved up
  EXPECT_EQ(take_all(bucket, now), 10);
}

TEST(TokenBucket, HoldsOneAtLeast) {
  TokenBucket bucket(2, 100ms);
  const TimePoint now = Clock::now();
  EXPECT_EQ(bucket.take(now), Duration::zero());
  EXPECT_EQ(bucket.take(now), 500ms);
  EXPECT_EQ(bucket.take(now + 500ms), Duration::zero());
}

TEST(TokenBucket, RatesOutOfRangeAreBroughtIntoIt) {
  const TimePoint now = Clock::now();
  TokenBucket none(0, 1s);
  EXPECT_EQ(take_all(none, now), 1);
  EXPECT_EQ(none.take(now), 1s);
  TokenBucket fastest(std::numeric_limits<std::uint64_t>::max(), 1us);
  EXPECT_EQ(take_all(fastest, now), 1000);
}

TEST(TokenBucket, IsReadyBeforeMainAndNeedsNoLock) {
  static constinit TokenBucket bucket(1000, 1s);
  static TimePoint now = Clock::now();
  now += 1s;  // full again in a repetition, too
  std::atomic<int> taken = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { taken += take_all(bucket, now); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 1000);
}

}  // namespace
}  // namespace weir::test
