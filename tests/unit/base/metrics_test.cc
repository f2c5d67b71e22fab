#include "weir/base/metrics.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Machine {
  std::uint64_t open = 0;
  std::uint64_t bytes_in = 0;
  Duration busy{};
  std::array<std::uint64_t, 2> closed{};
  std::array<std::uint64_t, 2> times{};
  static MetricList<Machine> metrics();
};

std::string reason(std::size_t i) { return metric_label("reason", i == 0 ? "eof" : "reset"); }
std::string bound(std::size_t i) { return metric_label("le", i == 0 ? "0.5" : "+Inf"); }

using internal::metric;
constexpr std::array kList{
    metric<&Machine::open>(MetricKind::gauge, "open", "", "Open."),
    metric<&Machine::bytes_in>(MetricKind::counter, "bytes_in", "bytes", "In."),
    metric<&Machine::busy>(MetricKind::counter, "busy", "seconds", "Busy."),
    metric<&Machine::closed, reason>(MetricKind::counter, "closed", "", "Closed."),
    metric<&Machine::times, bound>(MetricKind::histogram, "times", "seconds", "Times."),
};
static_assert(internal::covers_all<Machine>(kList));
static_assert(!internal::covers_all<Machine>(std::span(kList).first<4>()), "one is missing");

MetricList<Machine> Machine::metrics() { return kList; }

const Machine kOne{.open = 1, .bytes_in = 2, .busy = 1500ms, .closed = {3, 4}, .times = {5, 6}};
const Machine kLater{
    .open = 10, .bytes_in = 20, .busy = 15s, .closed = {30, 40}, .times = {50, 60}};

TEST(Metrics, TheDifferenceIsOfCountersAndGaugesAreTheLaterOnes) {
  const Machine difference = metrics_difference(kLater, kOne);
  EXPECT_EQ(difference.open, 10u);
  EXPECT_EQ(difference.bytes_in, 18u);
  EXPECT_EQ(difference.busy, 13500ms);
  EXPECT_EQ(difference.closed, (std::array<std::uint64_t, 2>{27, 36}));
  EXPECT_EQ(difference.times, (std::array<std::uint64_t, 2>{45, 54}));
}

TEST(Metrics, TheSumIsOfAll) {
  Machine sum = kOne;
  add_metrics(sum, kLater);
  EXPECT_EQ(sum.open, 11u);
  EXPECT_EQ(sum.bytes_in, 22u);
  EXPECT_EQ(sum.busy, 16500ms);
  EXPECT_EQ(sum.closed, (std::array<std::uint64_t, 2>{33, 44}));
}

TEST(Metrics, TextForPrometheus) {
  std::string text = "# before\n";
  append_metrics(text, "weir", kOne);
  EXPECT_EQ(text,
            "# before\n"
            "# HELP weir_open Open.\n"
            "# TYPE weir_open gauge\n"
            "weir_open 1\n"
            "# HELP weir_bytes_in_total In.\n"
            "# TYPE weir_bytes_in_total counter\n"
            "weir_bytes_in_total 2\n"
            "# HELP weir_busy_seconds_total Busy.\n"
            "# TYPE weir_busy_seconds_total counter\n"
            "weir_busy_seconds_total 1.5\n"
            "# HELP weir_closed_total Closed.\n"
            "# TYPE weir_closed_total counter\n"
            "weir_closed_total{reason=\"eof\"} 3\n"
            "weir_closed_total{reason=\"reset\"} 4\n"
            "# HELP weir_times_seconds Times.\n"
            "# TYPE weir_times_seconds histogram\n"
            "weir_times_seconds_bucket{le=\"0.5\"} 5\n"
            "weir_times_seconds_bucket{le=\"+Inf\"} 11\n"
            "weir_times_seconds_count 11\n");
}

// A page names each metric once, and has its values together.
TEST(Metrics, SeveralStructsOnOnePage) {
  const std::array<LabelledStats<Machine>, 2> loops{
      {{metric_label("loop", "0"), kOne}, {metric_label("loop", "1"), kLater}}};
  std::string text;
  append_labelled_metrics(text, "", loops);
  EXPECT_TRUE(
      text.starts_with("# HELP open Open.\n"
                       "# TYPE open gauge\n"
                       "open{loop=\"0\"} 1\n"
                       "open{loop=\"1\"} 10\n"
                       "# HELP bytes_in_total In.\n"))
      << text;
  EXPECT_NE(text.find("closed_total{loop=\"1\",reason=\"reset\"} 40\n"), std::string::npos);
}

TEST(Metrics, ALineForALogLeavesOutWhatIsZero) {
  EXPECT_EQ(metrics_line(Machine{}), "");
  EXPECT_EQ(metrics_line(Machine{.bytes_in = 2, .closed = {0, 4}}),
            "bytes_in=2 closed{reason=\"reset\"}=4");
}

TEST(Metrics, NumbersAreWhole) {
  EXPECT_EQ(metrics_line(Machine{.bytes_in = 9'007'199'254'740'991}), "bytes_in=9007199254740991");
}

TEST(Metrics, LabelsAreEscaped) {
  EXPECT_EQ(metric_label("path", "a\"b\\c\nd"), "path=\"a\\\"b\\\\c\\nd\"");
}

}  // namespace
}  // namespace weir::test
