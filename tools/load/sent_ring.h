// SentRing: the numbered datagrams of one socket that wait for their answers. [one thread]
//
// Numbers are assigned in order, from 0. The entry of an answered datagram is kept until all
// earlier ones are answered or dropped. So one lost datagram keeps all later entries; `most` bounds
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "weir/base/clock.h"

namespace weir::load {

class SentRing {
 public:
  // `most`: the maximum distance from the oldest waiting number to the next one.
  explicit SentRing(std::uint64_t most) : most_(most) {}

  std::uint64_t next() const { return next_; }
  std::uint64_t in_flight() const { return in_flight_; }
  bool empty() const { return first_ == next_; }
  // If full, call drop_first() before push().
  bool full() const { return next_ - first_ == most_; }
  // The number of entries that have memory.
  std::size_t room() const { return ring_.size(); }

  // Records that number next() was sent.
  void push(TimePoint when) {
    if (next_ - first_ == ring_.size()) {
      std::vector<Sent> larger(2 * ring_.size());
      for (std::uint64_t i = first_; i != next_; ++i) larger[i % larger.size()] = at(i);
      ring_ = std::move(larger);
    }
    at(next_++) = {.when = when, .waiting = true};
    ++in_flight_;
  }

  // A number came back: returns when it was sent, if it was waiting.
  std::optional<TimePoint> take(std::uint64_t number) {
    if (number < first_ || number >= next_ || !std::exchange(at(number).waiting, false)) return {};
    --in_flight_;
    const TimePoint when = at(number).when;
    drop_returned();
    return when;
  }

  // The time at which the oldest waiting number was sent.
  std::optional<TimePoint> oldest() const {
    if (empty()) return {};
    return at(first_).when;
  }

  // Stops waiting for the oldest number. Must not be empty.
  void drop_first() {
    at(first_).waiting = false;
    --in_flight_;
    drop_returned();
  }

 private:
  struct Sent {
    TimePoint when;
    bool waiting = false;
  };

  Sent& at(std::uint64_t number) { return ring_[number % ring_.size()]; }
  const Sent& at(std::uint64_t number) const { return ring_[number % ring_.size()]; }
  void drop_returned() {
    while (first_ != next_ && !at(first_).waiting) ++first_;
  }

  const std::uint64_t most_;
  std::vector<Sent> ring_ = std::vector<Sent>(64);
  std::uint64_t first_ = 0;  // the oldest waiting number, or next_
  std::uint64_t next_ = 0;
  std::uint64_t in_flight_ = 0;
};

}  // namespace weir::load
