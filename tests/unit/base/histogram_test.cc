#include "weir/base/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace weir {
namespace {

TEST(Histogram, EmptyIsAllZero) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0U);
  EXPECT_EQ(h.min(), 0U);
  EXPECT_EQ(h.max(), 0U);
  EXPECT_EQ(h.mean(), 0.0);
  EXPECT_EQ(h.percentile(50), 0U);
}

TEST(Histogram, OneValueIsEveryPercentile) {
  for (const std::uint64_t value :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{255}, std::uint64_t{256},
        std::uint64_t{257}, std::uint64_t{123'456'789}, std::uint64_t{1} << 47,
        (std::uint64_t{1} << 48) - 1, std::uint64_t{1} << 48,
        std::numeric_limits<std::uint64_t>::max()}) {
    SCOPED_TRACE(value);
    Histogram h;
    h.record(value);
    for (const double p : {0.0, 50.0, 99.99, 100.0}) EXPECT_EQ(h.percentile(p), value);
    EXPECT_EQ(h.min(), value);
    EXPECT_EQ(h.max(), value);
    EXPECT_DOUBLE_EQ(h.mean(), static_cast<double>(value));
  }
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram h;
  for (std::uint64_t value = 1; value <= 200; ++value) h.record(value);
  for (std::uint64_t p = 1; p <= 100; ++p) {
    EXPECT_EQ(h.percentile(static_cast<double>(p)), 2 * p) << p;
  }
  EXPECT_DOUBLE_EQ(h.mean(), 100.5);
}

TEST(Histogram, BucketsHoldWhatWasRecorded) {
  Histogram h;
  EXPECT_TRUE(h.buckets().empty());
  const std::vector<std::uint64_t> values = {0, 3, 3, 255, 256, 70'000, std::uint64_t{1} << 50};
  for (const std::uint64_t value : values) h.record(value);
  const auto buckets = h.buckets();
  ASSERT_EQ(buckets.size(), 6U);
  EXPECT_EQ(buckets[1].lowest, 3U);
  EXPECT_EQ(buckets[1].highest, 3U);
  EXPECT_EQ(buckets[1].count, 2U);
  std::uint64_t above = 0;
  for (const auto& [lowest, highest, count] : buckets) {
    EXPECT_GE(lowest, above);
    EXPECT_EQ(static_cast<std::uint64_t>(std::ranges::count_if(
                  values, [&](std::uint64_t v) { return v >= lowest && v <= highest; })),
              count);
    above = highest;
  }
}

// Each power of two, its neighbours, and what lies between: at most 1/128 above, never below.
TEST(Histogram, ErrorIsBelowOnePercentEverywhere) {
  for (int bit = 0; bit < 48; ++bit) {
    for (const double part : {1.0, 1.01, 1.33, 1.5, 1.99}) {
      for (const int step : {-1, 0, 1}) {
        const auto value = static_cast<std::uint64_t>(std::max(0.0, std::ldexp(part, bit) + step));
        Histogram h;
        h.record(value);
        h.record(std::numeric_limits<std::uint64_t>::max());  // so that max() does not help
        const std::uint64_t shown = h.percentile(50);
        ASSERT_GE(shown, value);
        ASSERT_LE(static_cast<double>(shown - value), static_cast<double>(value) / 128) << value;
      }
    }
  }
}

TEST(Histogram, MatchesSortedValues) {
  constexpr unsigned kSeed = 20240501;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  std::lognormal_distribution<double> latency(11, 2);
  Histogram h;
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<std::uint64_t>(latency(random)));
    h.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double p : {0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
    const auto rank = static_cast<std::size_t>(std::ceil(p / 100 * 100'000 - 1e-6));
    const std::uint64_t exact = values[rank - 1];
    EXPECT_GE(h.percentile(p), exact) << p;
    EXPECT_LE(static_cast<double>(h.percentile(p)), static_cast<double>(exact) * 1.01 + 1) << p;
  }
  EXPECT_EQ(h.percentile(100), values.back());
  EXPECT_EQ(h.min(), values.front());
}

TEST(Histogram, MergeEqualsRecordingAll) {
  Histogram a;
  Histogram b;
  Histogram all;
  for (std::uint64_t i = 1; i < 5000; ++i) {
    (i % 3 == 0 ? a : b).record(i * i);
    all.record(i * i);
  }
  a.merge(b);
  a.merge(Histogram());
  EXPECT_EQ(a.count(), all.count());
  EXPECT_EQ(a.min(), all.min());
  EXPECT_EQ(a.max(), all.max());
  EXPECT_DOUBLE_EQ(a.mean(), all.mean());
  for (double p = 0; p <= 100; p += 0.5) EXPECT_EQ(a.percentile(p), all.percentile(p));
}

TEST(Histogram, RecordNIsNTimesRecord) {
  Histogram a;
  Histogram b;
  a.record_n(1000, 3);
  a.record_n(5, 0);
  for (int i = 0; i < 3; ++i) b.record(1000);
  EXPECT_EQ(a.count(), 3U);
  EXPECT_EQ(a.min(), 1000U);
  EXPECT_EQ(a.percentile(50), b.percentile(50));
}

TEST(Histogram, ClearForgets) {
  Histogram h;
  h.record(7);
  h.clear();
  EXPECT_EQ(h.count(), 0U);
  h.record(9);
  EXPECT_EQ(h.percentile(50), 9U);
  EXPECT_EQ(h.min(), 9U);
}

TEST(HistogramDeathTest, PercentileOutOfRangeIsABug) {
  const Histogram h;
  EXPECT_DEATH(h.percentile(100.5), "Histogram::percentile\\(100.5\\)");
  EXPECT_DEATH(h.percentile(-1), "Histogram::percentile\\(-1\\)");
}

}  // namespace
}  // namespace weir
