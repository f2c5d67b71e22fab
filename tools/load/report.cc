#include "load/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>

#include "load/distribution.h"
#include "program/standard_streams.h"

namespace weir::load {

namespace {

using program::print;

// If a thread is busier than this, weir-load is the bottleneck.
constexpr double kSaturated = 0.95;
// So it is if more than 1 % of the sends of an open loop are later than this, in ns.
constexpr std::uint64_t kTooLate = 1'000'000;

double in_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

double share(Duration part, Duration whole) {
  return whole > Duration::zero() ? in_seconds(part) / in_seconds(whole) : 0;
}

std::string percentiles(const Histogram& h, const char* none) {
  if (h.count() == 0) return none;
  const auto at = [&](double p) { return short_time(h.percentile(p)); };
  return fmt::format("p50 {}, p90 {}, p99 {}, p99.9 {}, max {}", at(50), at(90), at(99), at(99.9),
                     short_time(h.max()));
}

void print_head(const Report& report) {
  const Settings& s = report.settings;
  print("{} {}: {} {}, {} bytes per message, ", s.mode_name, s.target.to_string(),
        grouped(s.connections),
        s.one_to_many()       ? "receivers"
        : s.mode == Mode::udp ? "sockets"
                              : "connections",
        grouped(s.size));
  if (s.open_loop()) {
    print("{:g} a second by schedule", s.rate);
  } else if (s.mode == Mode::churn) {
    print("one for each connection");
  } else if (s.mode == Mode::idle) {
    print("one exchange each");
  } else {
    print("{} in flight{}", grouped(s.depth), s.one_to_many() ? "" : " each");
  }
  print(", {:.2f} s{}\n", in_seconds(report.held > Duration::zero() ? report.held : report.elapsed),
        report.interrupted ? ", interrupted" : "");
}

void print_loop(const Report& report) {
  if (report.settings.open_loop()) {
    print(
        "  loop       open: latency counts from the scheduled time; sends were late by "
        "p99 {}, max {}\n",
        short_time(report.numbers.lateness.percentile(99)),
        short_time(report.numbers.lateness.max()));
  } else {
    print(
        "  loop       closed: does not show coordinated omission (nothing is sent while the server "
        "stalls; see --rate)\n");
  }
}

// Not errors: datagrams may be lost, reordered and duplicated.
void print_losses(const Numbers& numbers) {
  const auto percent = [&](std::uint64_t part) {
    return numbers.sent > 0 ? 100 * static_cast<double>(part) / static_cast<double>(numbers.sent)
                            : 0.0;
  };
  print("  datagrams  {} sent, {} lost ({:.3f} %), {} out of order ({:.3f} %), {} again\n",
        grouped(numbers.sent), grouped(numbers.lost), percent(numbers.lost),
        grouped(numbers.reordered), percent(numbers.reordered), grouped(numbers.again));
}

// Always printed, because the generator may have been late without having been busy.
constexpr std::string_view kWaitUnknown =
    "waited for a core for an unknown time (no schedstat in /proc)";

void print_generator(const Report& report) {
  const auto queued = report.most_queued();
  if (const std::string why = report.bottleneck(); !why.empty()) {
    print("  generator  was itself the bottleneck: {}{}\n", why,
          queued ? std::string() : fmt::format("; it {}", kWaitUnknown));
    return;
  }
  print("  generator  {} busy for {:.0f} % of the time, {}\n",
        report.numbers.threads.size() > 1 ? "its busiest thread was" : "was",
        100 * report.busiest(),
        queued ? fmt::format("waiting for a core included ({:.0f} %)", 100 * *queued)
               : fmt::format("and {}", kWaitUnknown));
}

void print_server(const Report& report) {
  const ServerUsage& server = *report.server;
  const double percent = 100 * share(server.cpu, server.elapsed);
  if (!server.shown) {
    print("  server     CPU {:.1f} %; memory unknown: /proc does not show process {}\n", percent,
          server.pid);
    return;
  }
  print(
      "  server     CPU {:.1f} % (user {:.2f} s, system {:.2f} s), RSS {} before, {} at the "
      "end, {} at most\n",
      percent, in_seconds(server.user), in_seconds(server.system), short_size(server.rss_before),
      short_size(server.rss_end), short_size(server.rss_peak));
  if (report.settings.mode == Mode::idle) {
    print("             {:.0f} bytes of RSS per connection\n", report.memory_per_connection());
  }
}

void print_errors(const Numbers& numbers) {
  print("  errors     {}\n", grouped(numbers.error_count()));
  for (const auto& [kind, count] : numbers.errors) {
    print("    {:>8}  {}\n", grouped(count), kind);
  }
  if (!numbers.first_difference.empty()) {
    print("    first difference: {}\n", numbers.first_difference);
  }
  if (numbers.errors.contains("connect: Cannot assign requested address (EADDRNOTAVAIL)")) {
    print("    no local port was left; --source 127.0.0.0/8 has more\n");
  }
}

}  // namespace

double Report::rate() const {
  return elapsed > Duration::zero() ? static_cast<double>(numbers.messages) / in_seconds(elapsed)
                                    : 0;
}

std::optional<double> Report::most_queued() const {
  double most = 0;
  for (const ThreadUsage& thread : numbers.threads) {
    if (!thread.queued) return std::nullopt;
    most = std::max(most, share(*thread.queued, thread.elapsed));
  }
  return std::min(most, 1.0);
}

double Report::megabytes_per_second() const {
  return rate() * static_cast<double>(settings.size) / 1e6;
}

double Report::busiest() const {
  double most = 0;
  for (const ThreadUsage& thread : numbers.threads) {
    most = std::max({most,
                     share(thread.cpu + thread.queued.value_or(Duration::zero()), thread.elapsed),
                     share(thread.busy, thread.elapsed)});
  }
  return std::min(most, 1.0);
}

std::string Report::bottleneck() const {
  if (settings.mode == Mode::idle) return {};
  if (busiest() >= kSaturated) {
    return fmt::format(
        "a thread of weir-load was busy or waited for a core for {:.0f} % of the time",
        100 * busiest());
  }
  const std::uint64_t late = numbers.lateness.percentile(99);
  if (late > kTooLate) {
    return fmt::format("1 % of the sends were more than {} late", short_time(late));
  }
  return {};
}

double Report::memory_per_connection() const {
  if (!server || numbers.connected == 0) return 0;
  return (static_cast<double>(server->rss_end) - static_cast<double>(server->rss_before)) /
         static_cast<double>(numbers.connected);
}

std::string short_time(std::uint64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns < 1'000'000) return fmt::format("{:.0f} us", value / 1e3);
  if (ns < 1'000'000'000) return fmt::format("{:.1f} ms", value / 1e6);
  return fmt::format("{:.2f} s", value / 1e9);
}

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return digits;
}

std::string short_size(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024 * 1024));
}

void print_report(const Report& report) {
  const Settings& settings = report.settings;
  const Numbers& numbers = report.numbers;
  if (numbers.connected == 0 && numbers.error_count() > 0) {  // the rest would be zeros
    print("{} {}: no connection was made\n", settings.mode_name, settings.target.to_string());
    print_errors(numbers);
    return;
  }
  print_head(report);
  print("  {}  {}\n", settings.one_to_many() ? "delivered" : "messages ",
        grouped(numbers.messages));
  print("  rate       {}/s", grouped(static_cast<std::uint64_t>(report.rate())));
  if (settings.one_to_many()) {
    print(" ({} messages sent), {:.1f} MB/s\n", grouped(numbers.sent),
          report.megabytes_per_second());
  } else {
    print(", {:.1f} MB/s each way\n", report.megabytes_per_second());
  }
  if (settings.mode == Mode::udp) print_losses(numbers);
  print("  latency    {}\n", percentiles(numbers.latency, "no message came back"));
  if (settings.mode != Mode::idle) print_loop(report);
  print("  connect    {}\n", percentiles(numbers.connect_latency, "no connection was made"));
  if (settings.mode != Mode::idle) print_generator(report);
  if (report.server) print_server(report);
  print_errors(numbers);
  if (settings.histogram) print_histogram(numbers.latency);
}

}  // namespace weir::load
