#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "load/distribution.h"
#include "load/report.h"

namespace weir::load {

namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // null

// Builds a JSON object.
class Json {
 public:
  void add(std::string_view key, const std::string& text) { put(key, quoted(text)); }
  void add(std::string_view key, std::string_view text) { put(key, quoted(text)); }
  void add(std::string_view key, bool value) { put(key, value ? "true" : "false"); }
  void add(std::string_view key, std::uint64_t value) { put(key, std::to_string(value)); }
  void add(std::string_view key, double value, int digits) {
    put(key, std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "null");
  }
  void add_seconds(std::string_view key, Duration d) {
    add(key, std::chrono::duration<double>(d).count(), 6);
  }
  void add(std::string_view key, const Json& object) { put(key, object.text()); }
  std::string text() const { return "{" + members_ + "}"; }

 private:
  void put(std::string_view key, std::string_view value) {
    members_ += fmt::format("{}{}: {}", members_.empty() ? "" : ", ", quoted(key), value);
  }
  static std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      } else {
        out += c;
      }
    }
    return out + "\"";
  }

  std::string members_;
};

Json percentiles(const Histogram& h) {
  const auto microseconds = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  Json json;
  json.add("count", h.count());
  json.add("min", microseconds(h.min()), 1);
  json.add("mean", h.mean() / 1e3, 1);
  json.add("p50", microseconds(h.percentile(50)), 1);
  json.add("p90", microseconds(h.percentile(90)), 1);
  json.add("p99", microseconds(h.percentile(99)), 1);
  json.add("p999", microseconds(h.percentile(99.9)), 1);
  json.add("p9999", microseconds(h.percentile(99.99)), 1);
  json.add("max", microseconds(h.max()), 1);
  return json;
}

Json generator(const Report& report) {
  Duration cpu{0};
  for (const ThreadUsage& thread : report.numbers.threads) cpu += thread.cpu;
  const std::string why = report.bottleneck();
  Json json;
  json.add("threads", std::uint64_t{report.settings.threads});
  json.add_seconds("cpu_s", cpu);
  json.add("busiest_thread", report.busiest(), 3);
  json.add("most_queued_thread", report.most_queued().value_or(kUnknown), 3);
  json.add("bottleneck", !why.empty());
  json.add("why", why);
  if (report.settings.open_loop()) json.add("late_us", percentiles(report.numbers.lateness));
  return json;
}

Json server(const Report& report) {
  const ServerUsage& usage = *report.server;
  const auto seconds = [](Duration d) { return std::chrono::duration<double>(d).count(); };
  Json json;
  json.add("pid", static_cast<std::uint64_t>(usage.pid));
  json.add_seconds("elapsed_s", usage.elapsed);
  json.add_seconds("cpu_s", usage.cpu);
  if (usage.shown) {
    json.add_seconds("user_s", usage.user);
    json.add_seconds("system_s", usage.system);
  }
  json.add("cpu_percent",
           usage.elapsed > Duration::zero() ? 100 * seconds(usage.cpu) / seconds(usage.elapsed) : 0,
           2);
  if (!usage.shown) return json;
  json.add("rss_before", std::uint64_t{usage.rss_before});
  json.add("rss_begin", std::uint64_t{usage.rss_begin});
  json.add("rss_end", std::uint64_t{usage.rss_end});
  json.add("rss_peak", std::uint64_t{usage.rss_peak});
  if (report.settings.mode == Mode::idle) {
    json.add("rss_per_connection", report.memory_per_connection(), 1);
  }
  return json;
}

}  // namespace

Result<void> write_json(const Report& report) {
  const Settings& settings = report.settings;
  const Numbers& numbers = report.numbers;
  Json json;
  json.add("mode", settings.mode_name);
  json.add("address", settings.target.to_string());
  json.add("connections", std::uint64_t{settings.connections});
  json.add("connected", std::uint64_t{numbers.connected});
  json.add("size", std::uint64_t{settings.size});
  json.add("loop", std::string(settings.open_loop() ? "open" : "closed"));
  json.add("sees_stalls", settings.open_loop());
  if (settings.open_loop()) {
    json.add("scheduled_rate", settings.rate, 3);
  } else {
    json.add("depth", std::uint64_t{settings.depth});
  }
  json.add("verified", settings.verify);
  json.add_seconds("warmup_s", settings.warmup);
  json.add_seconds("duration_s", report.elapsed);
  if (settings.mode == Mode::idle) json.add_seconds("held_s", report.held);
  json.add("interrupted", report.interrupted);
  json.add("sent", numbers.sent);
  json.add("messages", numbers.messages);
  if (settings.mode == Mode::udp) {
    json.add("lost", numbers.lost);
    json.add("reordered", numbers.reordered);
    json.add("again", numbers.again);
  }
  json.add("warmup_messages", numbers.warmup_messages);
  json.add("rate", report.rate(), 1);
  json.add("mb_per_s", report.megabytes_per_second(), 3);
  json.add("errors", numbers.error_count());
  Json kinds;
  for (const auto& [kind, count] : numbers.errors) kinds.add(kind, count);
  json.add("errors_by_kind", kinds);
  if (!numbers.first_difference.empty()) json.add("first_difference", numbers.first_difference);
  json.add("latency_us", percentiles(numbers.latency));
  json.add("connect_us", percentiles(numbers.connect_latency));
  json.add("generator", generator(report));
  if (report.server) json.add("server", server(report));
  return write_file(settings.json_path, json.text() + "\n");
}

}  // namespace weir::load
