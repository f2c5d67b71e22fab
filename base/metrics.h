// Metrics: what the Stats structs of weir count, by name, for programs that export it or log it.
//
//   std::string page;
//   weir::append_metrics(page, "weir_server", server.stats());            // for Prometheus
//   std::puts(weir::metrics_line(server.stats() - a_second_ago).c_str());  // "accepted=3
//   bytes_in=…"
//
// Each Stats struct has a list of its metrics: `Stats::metrics()`. The list is complete: that is
// checked when weir is compiled. Differences and sums are made from it. [any]
#pragma once

#include "weir/base/requirements.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

enum class MetricKind : std::uint8_t {
  counter,    // grows only; the difference of two is that of the time between them
  gauge,      // as it is now
  histogram,  // counters by the upper bound of a range
};

// One value of a metric.
struct MetricSample {
  double value = 0;
  std::string label{};  // `reason="reset"`: which of several; empty: there is one
};

// One metric of a Stats struct.
template <typename Stats>
struct Metric {
  std::string_view name;  // the field's
  std::string_view unit;  // "bytes", "seconds"; empty: a number of things
  std::string_view help;  // one line
  MetricKind kind = MetricKind::counter;

  std::size_t size = 0;                                     // bytes of the field
  void (*subtract)(Stats& from, const Stats& what);         // counters; nothing for a gauge
  void (*add)(Stats& to, const Stats& what);                // a sum over loops, of gauges, too
  std::vector<MetricSample> (*samples)(const Stats& from);  // the values
};

template <typename Stats>
using MetricList = std::span<const Metric<Stats>>;

// later - earlier of the counters; gauges are those of `later`.
template <typename Stats>
Stats metrics_difference(Stats later, const Stats& earlier) {
  for (const Metric<Stats>& metric : Stats::metrics()) metric.subtract(later, earlier);
  return later;
}

// Adds all of `one` to `sum`.
template <typename Stats>
void add_metrics(Stats& sum, const Stats& one) {
  for (const Metric<Stats>& metric : Stats::metrics()) metric.add(sum, one);
}

// `name="value"`, with what would end the value early escaped.
std::string metric_label(std::string_view name, std::string_view value);

// A struct of several that are shown together, and how it differs: `loop="0"`.
template <typename Stats>
struct LabelledStats {
  std::string labels{};
  Stats stats{};
};

}  // namespace weir

namespace weir::internal {

// "prefix_name_unit_total".
std::string metric_name(std::string_view prefix, std::string_view name, std::string_view unit,
                        MetricKind kind);
void append_metric_head(std::string& text, const std::string& name, std::string_view help,
                        MetricKind kind);
void append_metric_samples(std::string& text, const std::string& name, std::string_view labels,
                           MetricKind kind, std::span<const MetricSample> samples);
void append_metric_pair(std::string& line, std::string_view name,
                        std::span<const MetricSample> samples);

}  // namespace weir::internal

namespace WEIR_EXPORT weir {

// Appends the metrics in the text format of Prometheus, one line a value, each metric with its HELP
// and TYPE: `weir_server_accepted_total 17`. A name is made of `prefix`, the metric's name, its
// unit and, of a counter, "total".
template <typename Stats>
void append_metrics(std::string& text, std::string_view prefix, const Stats& stats) {
  append_labelled_metrics(text, prefix, std::array{LabelledStats<Stats>{.stats = stats}});
}
// The same for several structs on one page; `all` is a range of LabelledStats.
template <typename Range>
void append_labelled_metrics(std::string& text, std::string_view prefix, const Range& all) {
  using Stats = std::remove_cvref_t<decltype(std::begin(all)->stats)>;
  for (const Metric<Stats>& metric : Stats::metrics()) {
    const std::string name = internal::metric_name(prefix, metric.name, metric.unit, metric.kind);
    internal::append_metric_head(text, name, metric.help, metric.kind);
    for (const auto& one : all) {
      internal::append_metric_samples(text, name, one.labels, metric.kind,
                                      metric.samples(one.stats));
    }
  }
}

// One line for a log: "connections=3 accepted=17 closed{reason=\"reset\"}=2". What is zero is left
// out.
template <typename Stats>
std::string metrics_line(const Stats& stats) {
  std::string line;
  for (const Metric<Stats>& metric : Stats::metrics()) {
    internal::append_metric_pair(line, metric.name, metric.samples(stats));
  }
  return line;
}

}  // namespace weir

namespace weir::internal {

// --- making a list -------------------------------------------------------------------------------

template <typename T>
struct MemberOf;
template <typename Stats, typename Value>
struct MemberOf<Value Stats::*> {
  using Owner = Stats;
  using Type = Value;
};

// How each type of field is subtracted, added and shown. `label(i)` names element i of an array.
template <typename Value>
struct MetricField {
  using Label = std::nullptr_t;
  static void subtract(Value& from, const Value& what) { from -= what; }
  static void add(Value& to, const Value& what) { to += what; }
  static std::vector<MetricSample> samples(const Value& value, Label) {
    if constexpr (requires { std::chrono::duration<double>(value); }) {
      return {{.value = std::chrono::duration<double>(value).count()}};
    } else {
      return {{.value = static_cast<double>(value)}};
    }
  }
};
template <std::size_t Size>
struct MetricField<std::array<std::uint64_t, Size>> {
  using Value = std::array<std::uint64_t, Size>;
  using Label = std::string (*)(std::size_t index);
  static void subtract(Value& from, const Value& what) {
    for (std::size_t i = 0; i < Size; ++i) from[i] -= what[i];
  }
  static void add(Value& to, const Value& what) {
    for (std::size_t i = 0; i < Size; ++i) to[i] += what[i];
  }
  static std::vector<MetricSample> samples(const Value& value, Label label) {
    std::vector<MetricSample> all;
    all.reserve(Size);
    for (std::size_t i = 0; i < Size; ++i) {
      all.push_back({.value = static_cast<double>(value[i]), .label = label(i)});
    }
    return all;
  }
};

// What a list entry is made of: Member is a pointer to the field.
template <auto Member,
          typename MetricField<typename MemberOf<decltype(Member)>::Type>::Label Label = nullptr>
constexpr auto metric(MetricKind kind, std::string_view name, std::string_view unit,
                      std::string_view help) {
  using Stats = typename MemberOf<decltype(Member)>::Owner;
  using Value = typename MemberOf<decltype(Member)>::Type;
  using Field = MetricField<Value>;
  return Metric<Stats>{
      .name = name,
      .unit = unit,
      .help = help,
      .kind = kind,
      .size = sizeof(Value),
      .subtract = kind == MetricKind::gauge
                      ? [](Stats&, const Stats&) {}
                      : [](Stats& a, const Stats& b) { Field::subtract(a.*Member, b.*Member); },
      .add = [](Stats& to, const Stats& what) { Field::add(to.*Member, what.*Member); },
      .samples = [](const Stats& from) { return Field::samples(from.*Member, Label); }};
}

// Another view of a field that is in the list already.
template <typename Stats>
constexpr Metric<Stats> also(Metric<Stats> metric) {
  metric.size = 0;
  metric.subtract = [](Stats&, const Stats&) {};
  metric.add = [](Stats&, const Stats&) {};
  return metric;
}

// The list has all fields of the struct, which have no gaps between them: for a static_assert.
template <typename Stats>
constexpr bool covers_all(MetricList<Stats> list) {
  std::size_t size = 0;
  for (const Metric<Stats>& metric : list) size += metric.size;
  return size == sizeof(Stats);
}

}  // namespace weir::internal
