#include "load/distribution.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <vector>

#include "load/report.h"
#include "program/standard_streams.h"

namespace weir::load {

namespace {

constexpr std::size_t kBarWidth = 50;
constexpr std::size_t kMostRows = 24;
// The default of HdrHistogram: steps in which the distance to 100 % is halved.
constexpr int kTicksPerHalf = 5;

struct Row {
  std::uint64_t below;  // the values are below this
  std::uint64_t count;
};

// Rows with bounds that grow by the factor 2^(1/steps).
std::vector<Row> rows_of(const Histogram& histogram, int steps) {
  std::vector<Row> rows;
  double power = std::floor(std::log2(std::max<double>(1, static_cast<double>(histogram.min()))));
  const auto bound = [&] { return static_cast<std::uint64_t>(std::exp2(power)); };
  for (const auto& bucket : histogram.buckets()) {
    while (rows.empty() || bucket.lowest >= rows.back().below) {
      power += 1.0 / steps;
      rows.push_back({.below = bound(), .count = 0});
    }
    rows.back().count += bucket.count;
  }
  return rows;
}

double standard_deviation(const Histogram& histogram) {
  double sum = 0;
  for (const auto& bucket : histogram.buckets()) {
    const double middle = (static_cast<double>(bucket.lowest) +
                           static_cast<double>(std::min(bucket.highest, histogram.max()))) /
                          2;
    const double distance = middle - histogram.mean();
    sum += distance * distance * static_cast<double>(bucket.count);
  }
  return histogram.count() == 0 ? 0 : std::sqrt(sum / static_cast<double>(histogram.count()));
}

}  // namespace

void print_histogram(const Histogram& histogram) {
  if (histogram.count() == 0) return;
  auto rows = rows_of(histogram, 2);
  if (rows.size() > kMostRows) rows = rows_of(histogram, 1);
  std::uint64_t most = 1;
  for (const Row& row : rows) most = std::max(most, row.count);
  program::print("\n  {:>9}  {:>12}  {:>8}\n", "below", "messages", "% so far");
  std::uint64_t seen = 0;
  for (const Row& row : rows) {
    if (seen == 0 && row.count == 0) continue;
    seen += row.count;
    std::size_t width = static_cast<std::size_t>(static_cast<double>(row.count) * kBarWidth /
                                                 static_cast<double>(most));
    if (row.count > 0) width = std::max<std::size_t>(width, 1);
    const double part = 100 * static_cast<double>(seen) / static_cast<double>(histogram.count());
    program::print("  {:>9}  {:>12}  {:>8.3f}  {}\n", short_time(row.below), grouped(row.count),
                   part, std::string(width, '#'));
  }
}

Result<void> write_hdr(const Histogram& histogram, const std::string& path) {
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount",
                 "1/(1-Percentile)");
  const auto total = static_cast<double>(histogram.count());
  const auto milliseconds = [](auto ns) { return static_cast<double>(ns) / 1e6; };
  double wanted = 0;  // 0 to 1: the next percentile to write
  double seen = 0;
  for (const auto& bucket : histogram.buckets()) {
    seen += static_cast<double>(bucket.count);
    const double value = milliseconds(std::min(bucket.highest, histogram.max()));
    while (wanted < 1 && wanted <= seen / total) {
      fmt::format_to(out, "{:12.6f} {:14.12f} {:10.0f} {:14.2f}\n", value, wanted, seen,
                     1 / (1 - wanted));
      if (seen >= total) break;
      const double halves = std::floor(std::log2(1 / (1 - wanted))) + 1;
      wanted += 1 / (kTicksPerHalf * std::exp2(halves));
    }
  }
  if (histogram.count() > 0) {
    fmt::format_to(out, "{:12.6f} {:14.12f} {:10.0f} {:>14}\n", milliseconds(histogram.max()), 1.0,
                   total, "inf");
  }
  fmt::format_to(out, "#[Mean    = {:12.6f}, StdDeviation   = {:12.6f}]\n",
                 milliseconds(histogram.mean()), milliseconds(standard_deviation(histogram)));
  fmt::format_to(out, "#[Max     = {:12.6f}, Total count    = {:12}]\n",
                 milliseconds(histogram.max()), histogram.count());
  fmt::format_to(out, "#[Buckets = {:12}, SubBuckets     = {:12}]\n", 42, 128);
  return write_file(path, text);
}

Result<void> write_file(const std::string& path, const std::string& text) {
  const std::string what = "write " + path;
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return std::unexpected(Error(what, Errno::last()));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const Errno failure = written ? Errno() : Errno::last();
  if (std::fclose(file) != 0) return std::unexpected(Error(what, Errno::last()));
  if (!written) return std::unexpected(Error(what, failure));
  return {};
}

}  // namespace weir::load
