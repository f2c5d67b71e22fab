// The server of a soak: a process of its own, which checks each byte that it receives and answers
// with as many. Once in each sampling period it prints a line about its resources.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "soak/plan.h"
#include "weir/base/clock.h"

namespace weir {
class EventLoop;
}

namespace weir::test::soak {

// The resources of a process.
struct Sample {
  std::uint64_t memory = 0;  // resident, in bytes
  std::uint64_t descriptors = 0;
  std::uint64_t connections = 0;
  std::uint64_t timers = 0;
  std::uint64_t tasks = 0;
  std::uint64_t buffered = 0;
  std::uint64_t served = 0;     // connections in all
  std::uint64_t corrupted = 0;  // of them, with a wrong byte

  std::string line() const;
  static std::optional<Sample> parse(const std::string& line);
};
// Of this process; the caller adds its connections.
Sample take_sample(const EventLoop& loop);

struct ServerSettings {
  Settings common;
  Duration period{};
  std::string point;  // for hand-overs; empty: none
};
// Runs until SIGTERM or a hand-over. Returns the exit status: 0 if all is back, as it was.
int run_server(const ServerSettings& settings);

}  // namespace weir::test::soak
