// The numbers of a run. Each worker has its own; the run adds them up.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/histogram.h"

namespace weir::load {

// The load of one thread of weir-load in the measured time.
struct ThreadUsage {
  Duration elapsed{0};
  Duration cpu{0};
  std::optional<Duration> queued{0};  // ready to run, but no core was free; nullopt: unknown
  Duration busy{0};                   // the loop did not wait
};

struct Numbers {
  std::size_t connected = 0;          // connections made
  std::uint64_t sent = 0;             // messages begun in the measured time
  std::uint64_t messages = 0;         // of these, those that came back complete (and correct)
  std::uint64_t warmup_messages = 0;  // came back, but were begun before the measured time
  // udp: of `sent`
  std::uint64_t lost = 0;       // not back within --timeout
  std::uint64_t reordered = 0;  // back after one that was sent later
  std::uint64_t again = 0;      // came back twice, or after they were counted as lost
  Histogram latency;            // of `messages`; all histograms are in ns
  Histogram connect_latency;    // from connect(2) to connected
  Histogram lateness;           // open loop: sends that weir-load made later than scheduled
  std::map<std::string, std::uint64_t> errors;  // by kind
  std::string first_difference;                 // the first difference found by --verify
  TimePoint measured_from = TimePoint::max();
  TimePoint last_message;
  std::vector<ThreadUsage> threads;

  std::uint64_t error_count() const;
  void merge(const Numbers& other);
};

}  // namespace weir::load
