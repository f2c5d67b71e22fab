#include "weir/base/metrics.h"

#include <array>
#include <charconv>
#include <initializer_list>

namespace weir {
namespace {

// The shortest text that reads back as the same number.
void append_number(std::string& text, double value) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  text.append(digits.data(), end);
}

void append_words(std::string& text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) text += word;
}

// `{a="1",b="2"}`; nothing when both are empty.
void append_labels(std::string& text, std::string_view first, std::string_view second) {
  if (first.empty() && second.empty()) return;
  const bool both = !first.empty() && !second.empty();
  append_words(text, {"{", first, both ? "," : "", second, "}"});
}

void append_sample(std::string& text, std::string_view name, std::string_view labels,
                   std::string_view label, double value) {
  text += name;
  append_labels(text, labels, label);
  text += ' ';
  append_number(text, value);
  text += '\n';
}

// In Prometheus each bucket counts all values up to its bound, so the counts are cumulative.
void append_histogram(std::string& text, const std::string& name, std::string_view labels,
                      std::span<const MetricSample> ranges) {
  double sum = 0;
  for (const MetricSample& range : ranges) {
    sum += range.value;
    append_sample(text, name + "_bucket", labels, range.label, sum);
  }
  append_sample(text, name + "_count", labels, {}, sum);
}

std::string_view type_of(MetricKind kind) {
  switch (kind) {
    case MetricKind::counter:
      return "counter";
    case MetricKind::gauge:
      return "gauge";
    case MetricKind::histogram:
      break;
  }
  return "histogram";
}

}  // namespace

std::string metric_label(std::string_view name, std::string_view value) {
  std::string text(name);
  text += "=\"";
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text += '"';
}

namespace metrics_text {

std::string full_name(std::string_view prefix, std::string_view name, std::string_view unit,
                      MetricKind kind) {
  std::string full;
  append_words(full, {prefix, prefix.empty() ? "" : "_", name});
  if (!unit.empty() && name.find(unit) == std::string_view::npos) append_words(full, {"_", unit});
  if (kind == MetricKind::counter) full += "_total";
  return full;
}

void append_head(std::string& text, const std::string& name, std::string_view help,
                 MetricKind kind) {
  append_words(text, {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type_of(kind), "\n"});
}

void append_samples(std::string& text, const std::string& name, std::string_view labels,
                    MetricKind kind, std::span<const MetricSample> samples) {
  if (kind == MetricKind::histogram) {
    append_histogram(text, name, labels, samples);
    return;
  }
  for (const MetricSample& sample : samples) {
    append_sample(text, name, labels, sample.label, sample.value);
  }
}

void append_pairs(std::string& line, std::string_view name, std::span<const MetricSample> samples) {
  for (const MetricSample& sample : samples) {
    if (sample.value == 0) continue;
    append_words(line, {line.empty() ? "" : " ", name});
    append_labels(line, {}, sample.label);
    line += '=';
    append_number(line, sample.value);
  }
}

}  // namespace metrics_text
}  // namespace weir
