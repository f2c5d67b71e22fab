// The numbers of a run, and how people and programs are told them.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "load/settings.h"
#include "weir/base/histogram.h"
#include "weir/base/result.h"

namespace weir::load {

struct Numbers {
  std::size_t connected = 0;  // connections that were made
  std::uint64_t messages = 0;
  Histogram latency;                            // ns
  std::map<std::string, std::uint64_t> errors;  // by kind
  std::uint64_t error_count() const;
  void merge(const Numbers& other);
};

// "850 us", "1.2 ms", "3.4 s".
std::string short_time(std::uint64_t ns);
// "1,234,567".
std::string grouped(std::uint64_t n);

// On stdout.
void print_report(const EchoSettings& settings, const Numbers& numbers, Duration elapsed);
Result<void> write_json(const EchoSettings& settings, const Numbers& numbers, Duration elapsed);

}  // namespace weir::load
