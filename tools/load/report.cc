#include "load/report.h"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>

namespace weir::load {

namespace {

double in_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Per second; 0 for a run that ended before it began.
double rate_of(double amount, Duration elapsed) {
  return elapsed > Duration::zero() ? amount / in_seconds(elapsed) : 0;
}

double megabytes(const EchoSettings& settings, const Numbers& numbers) {
  return static_cast<double>(numbers.messages) * static_cast<double>(settings.size) / 1e6;
}

}  // namespace

std::uint64_t Numbers::error_count() const {
  std::uint64_t sum = 0;
  for (const auto& [kind, count] : errors) sum += count;
  return sum;
}

void Numbers::merge(const Numbers& other) {
  connected += other.connected;
  messages += other.messages;
  latency.merge(other.latency);
  for (const auto& [kind, count] : other.errors) errors[kind] += count;
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

void print_report(const EchoSettings& settings, const Numbers& numbers, Duration elapsed) {
  const auto percentile = [&](double p) { return short_time(numbers.latency.percentile(p)); };
  const double rate = rate_of(static_cast<double>(numbers.messages), elapsed);
  fmt::print("{}: {} connections, {} bytes a message, {} in flight each, {:.2f} s\n",
             settings.target.to_string(), grouped(numbers.connected), grouped(settings.size),
             grouped(settings.depth), in_seconds(elapsed));
  fmt::print("  messages  {}\n", grouped(numbers.messages));
  fmt::print("  rate      {}/s, {:.1f} MB/s each way\n", grouped(static_cast<std::uint64_t>(rate)),
             rate_of(megabytes(settings, numbers), elapsed));
  fmt::print("  latency   p50 {}, p90 {}, p99 {}, p99.9 {}, max {}\n", percentile(50),
             percentile(90), percentile(99), percentile(99.9), short_time(numbers.latency.max()));
  fmt::print("  errors    {}\n", grouped(numbers.error_count()));
  for (const auto& [kind, count] : numbers.errors) {
    fmt::print("    {:>8}  {}\n", grouped(count), kind);
  }
  std::fflush(stdout);
}

Result<void> write_json(const EchoSettings& settings, const Numbers& numbers, Duration elapsed) {
  const auto microseconds = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  const auto percentile = [&](double p) { return microseconds(numbers.latency.percentile(p)); };
  const std::string text = fmt::format(
      "{{\"connections\": {}, \"size\": {}, \"depth\": {}, \"duration_s\": {:.3f}, "
      "\"messages\": {}, \"rate\": {:.1f}, \"mb_per_s\": {:.3f}, \"errors\": {}, "
      "\"latency_us\": {{\"p50\": {:.1f}, \"p90\": {:.1f}, \"p99\": {:.1f}, \"p999\": {:.1f}, "
      "\"max\": {:.1f}}}}}\n",
      settings.connections, settings.size, settings.depth, in_seconds(elapsed), numbers.messages,
      rate_of(static_cast<double>(numbers.messages), elapsed),
      rate_of(megabytes(settings, numbers), elapsed), numbers.error_count(), percentile(50),
      percentile(90), percentile(99), percentile(99.9), microseconds(numbers.latency.max()));

  const std::string what = "write " + settings.json_path;
  std::FILE* file = std::fopen(settings.json_path.c_str(), "we");
  if (file == nullptr) return std::unexpected(Error(what, Errno::last()));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const Errno failure = written ? Errno() : Errno::last();
  if (std::fclose(file) != 0) return std::unexpected(Error(what, Errno::last()));
  if (!written) return std::unexpected(Error(what, failure));
  return {};
}

}  // namespace weir::load
