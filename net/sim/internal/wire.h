// Wire: the virtual clock, and everything that is under way: packets, datagrams, retries. Arrivals
// at the same time happen in the order in which they were sent. [one thread]
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "weir/base/clock.h"

namespace weir::internal::sim {

class Wire {
 public:
  // Not zero, which some programs take for "never".
  static constexpr TimePoint kStart{std::chrono::seconds(1000)};

  using Arrival = std::move_only_function<void()>;

  TimePoint now() const { return now_; }
  // The time of the next arrival.
  std::optional<TimePoint> next() const;

  void send(TimePoint at, Arrival arrival);
  // Makes everything happen that is due by now.
  void deliver();
  // Moves the clock, never backwards, and delivers.
  void advance_to(TimePoint time);
  // Discards everything that is under way.
  void cut();

 private:
  struct Entry {
    TimePoint at;
    std::uint64_t number;
    Arrival arrival;
    // For a heap whose first entry is the next one.
    friend bool operator<(const Entry& a, const Entry& b) {
      return a.at != b.at ? a.at > b.at : a.number > b.number;
    }
  };

  TimePoint now_ = kStart;
  std::uint64_t sent_ = 0;
  std::vector<Entry> arrivals_;  // a heap
};

}  // namespace weir::internal::sim
