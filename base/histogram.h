// Histogram: counts latencies in fixed memory (42 KiB); percentiles are accurate to 1 %.
// record() is O(1) and does not allocate. [one thread] Use one histogram for each thread and
// merge() them.
//
// Buckets are log-linear: each power of two has 128 equal buckets, and each value below 256 has a
// bucket of its own. Values of 2^48 ns (78 hours) and above share the last bucket; max() and mean()
// stay exact.
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

class Histogram {
 public:
  Histogram();

  void record(std::uint64_t ns) { record_n(ns, 1); }
  void record_n(std::uint64_t ns, std::uint64_t times);

  // The value that p per cent of all values do not exceed, 0 <= p <= 100: percentile(99.9). The
  // result is at most 1 % above the true value and never below it. 0 when nothing was recorded.
  std::uint64_t percentile(double p) const;
  std::uint64_t count() const { return count_; }
  std::uint64_t(min)() const { return count_ == 0 ? 0 : min_; }
  std::uint64_t(max)() const { return max_; }
  double mean() const;
  // The buckets that are not empty, in ascending order, for charts.
  struct Bucket {
    std::uint64_t lowest = 0;  // of the values that belong into it
    std::uint64_t highest = 0;
    std::uint64_t count = 0;
  };
  std::vector<Bucket> buckets() const;

  void merge(const Histogram& other);
  void clear();

 private:
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t min_ = (std::numeric_limits<std::uint64_t>::max)();
  std::uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace weir
