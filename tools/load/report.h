// How people and programs are told the numbers of a run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "load/numbers.h"
#include "load/server_watch.h"
#include "load/settings.h"
#include "weir/base/result.h"

namespace weir::load {

struct Report {
  const Settings& settings;
  const Numbers& numbers;
  Duration elapsed;  // from the begin of the measured part to the last message
  Duration held{0};  // idle: how long the connections were held
  bool interrupted = false;
  std::optional<ServerUsage> server;

  double rate() const;                  // messages a second
  double megabytes_per_second() const;  // 10^6 bytes, one way
  // Of the thread of weir-load that had most to do, 0 to 1; waiting for a core counts, where it is
  // known.
  double busiest() const;
  std::optional<double> most_queued() const;
  // Why weir-load, and not the server, may be what was measured; empty: it was not.
  std::string bottleneck() const;
  // idle: what a connection costs the server, in bytes.
  double memory_per_connection() const;
};

// "850 us", "1.2 ms", "3.4 s".
std::string short_time(std::uint64_t ns);
// "1,234,567".
std::string grouped(std::uint64_t n);
// "4.7 MiB".
std::string short_size(std::size_t bytes);

// On stdout.
void print_report(const Report& report);
Result<void> write_json(const Report& report);

}  // namespace weir::load
