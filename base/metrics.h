// Metrics: the values of weir's Stats structs with their names, for programs that export or log
// them.
//
//   std::string page;
//   weir::append_metrics(page, "weir_server", server.stats());            // for Prometheus
//   std::puts(weir::metrics_line(server.stats() - a_second_ago).c_str());  // for a log
//
// Each Stats struct has a list of its metrics: `Stats::metrics()`. A static_assert in weir ensures
// that the list has every field. Differences and sums are computed from it. [any]
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
  counter,    // only grows; the difference of two values counts the events between them
  gauge,      // the current value; can go up and down
  histogram,  // one counter for each range, labelled with its upper bound
};

// One value of a metric.
struct MetricSample {
  double value = 0;
  std::string label{};  // `reason="reset"`, if the metric has several values; else empty
};

// One metric of a Stats struct.
template <typename Stats>
struct Metric {
  std::string_view name;  // of the field
  std::string_view unit;  // "bytes", "seconds"; empty: a plain number
  std::string_view help;  // one line
  MetricKind kind = MetricKind::counter;

  std::size_t size = 0;                                     // of the field, in bytes
  void (*subtract)(Stats& from, const Stats& what);         // leaves a gauge unchanged
  void (*add)(Stats& to, const Stats& what);                // adds gauges, too
  std::vector<MetricSample> (*samples)(const Stats& from);  // the values
};

template <typename Stats>
using MetricList = std::span<const Metric<Stats>>;

// Counters: later - earlier. Gauges: the value in `later`.
template <typename Stats>
Stats metrics_difference(Stats later, const Stats& earlier) {
  for (const Metric<Stats>& metric : Stats::metrics()) metric.subtract(later, earlier);
  return later;
}

// Adds every metric of `one` to `sum`.
template <typename Stats>
void add_metrics(Stats& sum, const Stats& one) {
  for (const Metric<Stats>& metric : Stats::metrics()) metric.add(sum, one);
}

// `name="value"`; quotes, backslashes and line breaks in the value are escaped.
std::string metric_label(std::string_view name, std::string_view value);

// One of several structs on a page, with the labels that distinguish it: `loop="0"`.
template <typename Stats>
struct LabelledStats {
  std::string labels{};
  Stats stats{};
};

// The parts of the templates below that do not depend on the struct.
namespace metrics_text {

// For append_metrics(): "prefix_name_unit_total".
std::string full_name(std::string_view prefix, std::string_view name, std::string_view unit,
                      MetricKind kind);
// For append_metrics(): the HELP and TYPE lines.
void append_head(std::string& text, const std::string& name, std::string_view help,
                 MetricKind kind);
// For append_metrics(): one line for each value.
void append_samples(std::string& text, const std::string& name, std::string_view labels,
                    MetricKind kind, std::span<const MetricSample> samples);
// For metrics_line(): "name=value" for each value that is not zero.
void append_pairs(std::string& line, std::string_view name, std::span<const MetricSample> samples);

}  // namespace metrics_text

// Appends the metrics in the text format of Prometheus: one line for each value
// (`weir_server_accepted_total 17`), and HELP and TYPE lines for each metric. A name consists of
// `prefix`, the name of the metric, its unit and, for a counter, "total".
template <typename Stats>
void append_metrics(std::string& text, std::string_view prefix, const Stats& stats) {
  append_labelled_metrics(text, prefix, std::array{LabelledStats<Stats>{.stats = stats}});
}
// The same for several structs on one page; `all` is a range of LabelledStats.
template <typename Range>
void append_labelled_metrics(std::string& text, std::string_view prefix, const Range& all) {
  using Stats = std::remove_cvref_t<decltype(std::begin(all)->stats)>;
  for (const Metric<Stats>& metric : Stats::metrics()) {
    const std::string name = metrics_text::full_name(prefix, metric.name, metric.unit, metric.kind);
    metrics_text::append_head(text, name, metric.help, metric.kind);
    for (const auto& one : all) {
      metrics_text::append_samples(text, name, one.labels, metric.kind, metric.samples(one.stats));
    }
  }
}

// One line for a log: "connections=3 accepted=17 closed{reason=\"reset\"}=2". Values of zero are
// left out.
template <typename Stats>
std::string metrics_line(const Stats& stats) {
  std::string line;
  for (const Metric<Stats>& metric : Stats::metrics()) {
    metrics_text::append_pairs(line, metric.name, metric.samples(stats));
  }
  return line;
}

}  // namespace weir

namespace weir::internal {

// --- how a Stats struct defines its list ---------------------------------------------------------

template <typename T>
struct MemberOf;
template <typename Stats, typename Value>
struct MemberOf<Value Stats::*> {
  using Owner = Stats;
  using Type = Value;
};

// The operations on a field, by its type. `label(i)` is the label of element i of an array.
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

// Makes a list entry. Member is a pointer to the field.
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

// A second entry for a field that is already in the list; sums and differences ignore it.
template <typename Stats>
constexpr Metric<Stats> also(Metric<Stats> metric) {
  metric.size = 0;
  metric.subtract = [](Stats&, const Stats&) {};
  metric.add = [](Stats&, const Stats&) {};
  return metric;
}

// For a static_assert: true if the list has all fields of the struct. The struct must have no
// padding.
template <typename Stats>
constexpr bool covers_all(MetricList<Stats> list) {
  std::size_t size = 0;
  for (const Metric<Stats>& metric : list) size += metric.size;
  return size == sizeof(Stats);
}

}  // namespace weir::internal
