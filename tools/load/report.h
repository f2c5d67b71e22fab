// The report of a run, for people and for programs.
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
  Duration elapsed;  // from the start of the measured part to the last message
  Duration held{0};  // idle: how long the connections were held
  bool interrupted = false;
  std::optional<ServerUsage> server;

  double rate() const;                  // messages a second
  double megabytes_per_second() const;  // 10^6 bytes, one way
  // The load of the busiest thread of weir-load, 0 to 1, including the time for which it waited for
  // a core, if that is known.
  double busiest() const;
  std::optional<double> most_queued() const;
  // The reason why weir-load, not the server, was probably the bottleneck; empty: it was not.
  std::string bottleneck() const;
  // idle: the memory of the server for each connection, in bytes.
  double memory_per_connection() const;
};

// "850 us", "1.2 ms", "3.4 s".
std::string short_time(std::uint64_t ns);
// "1,234,567".
std::string grouped(std::uint64_t n);
// "4.7 MiB".
std::string short_size(std::size_t bytes);

// Prints to stdout.
void print_report(const Report& report);
Result<void> write_json(const Report& report);

}  // namespace weir::load
