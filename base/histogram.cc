#include "weir/base/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "weir/base/check_format.h"

namespace weir {
namespace {

// 128 buckets for each power of two: a bucket is at most 1/128 of its values wide.
constexpr int kBits = 7;
constexpr int kTopBit = 48;
constexpr std::size_t kBuckets = static_cast<std::size_t>(kTopBit - kBits + 1) << kBits;
constexpr std::uint64_t kLargest = (std::uint64_t{1} << kTopBit) - 1;

// The number of low bits of `value` that its bucket ignores.
int shift_of(std::uint64_t value) {
  return std::max(0, static_cast<int>(std::bit_width(value)) - (kBits + 1));
}

// Values 0..255 have a bucket each. Above, the leading 8 bits select a bucket within the power of
// two.
std::size_t bucket_of(std::uint64_t value) {
  value = std::min(value, kLargest);
  const int shift = shift_of(value);
  return (static_cast<std::size_t>(shift) << kBits) + static_cast<std::size_t>(value >> shift);
}

// The largest value in a bucket.
std::uint64_t top_of(std::size_t bucket) {
  const std::size_t row = bucket >> kBits;
  const int shift = row == 0 ? 0 : static_cast<int>(row) - 1;
  const std::uint64_t leading = bucket - (static_cast<std::size_t>(shift) << kBits);
  return ((leading + 1) << shift) - 1;
}

}  // namespace

Histogram::Histogram() : buckets_(kBuckets) {}

void Histogram::record_n(std::uint64_t ns, std::uint64_t times) {
  if (times == 0) return;
  buckets_[bucket_of(ns)] += times;
  count_ += times;
  min_ = std::min(min_, ns);
  max_ = std::max(max_, ns);
  sum_ += static_cast<double>(ns) * static_cast<double>(times);
}

std::uint64_t Histogram::percentile(double p) const {
  WEIR_CHECK(p >= 0 && p <= 100, "Histogram::percentile({}): not between 0 and 100", p);
  if (count_ == 0) return 0;
  if (p >= 100) return max_;
  // The wanted rank, 1..count. 99.9 has no exact binary form, so a result that is above a rank by a
  // rounding error is taken for that rank.
  const double exact = std::ceil(p / 100 * static_cast<double>(count_) * (1 - 1e-12));
  const std::uint64_t rank =
      std::clamp(static_cast<std::uint64_t>(exact), std::uint64_t{1}, count_);
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen < rank) continue;
    if (bucket == kBuckets - 1) return max_;
    return std::clamp(top_of(bucket), min_, max_);
  }
  return max_;
}

double Histogram::mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

std::vector<Histogram::Bucket> Histogram::buckets() const {
  std::vector<Bucket> filled;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (buckets_[bucket] == 0) continue;
    const std::uint64_t lowest = bucket == 0 ? 0 : top_of(bucket - 1) + 1;
    const std::uint64_t highest =
        bucket == kBuckets - 1 ? std::numeric_limits<std::uint64_t>::max() : top_of(bucket);
    filled.push_back({lowest, highest, buckets_[bucket]});
  }
  return filled;
}

void Histogram::merge(const Histogram& other) {
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    buckets_[bucket] += other.buckets_[bucket];
  }
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
}

void Histogram::clear() { *this = Histogram(); }

}  // namespace weir
