// IdleWheel: coarse deadlines for very many connections. [loop]
//
// A wheel of kLevels levels with 64 buckets each; a bucket of level L spans 4^L ticks. A deadline
// goes into the finest level that reaches it, rounded up, and stays there: it fires never early,
// and late by at most 1/15 of the time it was set ahead plus one tick. Setting and cancelling are
// O(1) and allocate nothing.
//
// What is touched by every message is not the wheel but a tick in the connection: when its bucket
// comes, the connection compares and goes back in for the rest. So a message costs one store, and
// 10,000 idle connections cost one wake-up per bucket.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "weir/base/clock.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/loop_client.h"

namespace weir::internal {

// A Tick is time in units of 2^23 ns (8.4 ms), modulo 2^32 (417 days). Compare with tick_reached().
constexpr int kTickShift = 23;

constexpr Tick tick_of(TimePoint t) {
  return static_cast<Tick>(static_cast<std::uint64_t>(t.time_since_epoch().count()) >> kTickShift);
}
// A duration in ticks, rounded up by one more so that floor(start) + ticks is never early.
// Cut to a quarter of the range of Tick (104 days): a wheel that was not turned for a while still
// sees such a deadline ahead of it, not behind.
constexpr Tick ticks_of(Duration d) {
  constexpr std::int64_t kMax = 0x3fffffff;
  if (d <= Duration::zero()) return 1;
  const std::int64_t ticks = (d.count() >> kTickShift) + 2;
  return static_cast<Tick>(ticks < kMax ? ticks : kMax);
}
constexpr bool tick_reached(Tick deadline, Tick now) {
  return static_cast<std::int32_t>(now - deadline) >= 0;
}

class LoopWatch;

class IdleWheel {
 public:
  // Clients served in one turn, so that 10,000 that expire together do not stop the traffic of
  // others.
  static constexpr std::size_t kMaxExpiredPerTurn = 1024;

  explicit IdleWheel(TimePoint now) : now_(full_tick(now)) {}

  // Calls client.on_deadline() when `deadline` has passed. Replaces an earlier deadline of the
  // client.
  void schedule(DeadlineClient& client, Tick deadline);
  void cancel(DeadlineClient& client) { client.unlink(); }

  // When expire() must next be called; nullopt when nothing is scheduled. TimePoint::min(): now.
  std::optional<TimePoint> next() const;
  // `watch` is told of it.
  void expire(TimePoint now, LoopWatch* watch = nullptr);

 private:
  using List = IntrusiveList<DeadlineClient, DeadlineTag>;
  static constexpr int kLevels = 14;  // reaches 64 * 4^13 ticks: all of Tick's range
  static constexpr int kBuckets = 64;
  static constexpr int kLevelShift = 2;

  static std::uint64_t full_tick(TimePoint t) {
    return static_cast<std::uint64_t>(t.time_since_epoch().count()) >> kTickShift;
  }
  void collect(int level, std::uint64_t from, std::uint64_t to);
  void find_next();

  struct Level {
    std::array<List, kBuckets> buckets;
    std::uint64_t occupied = 0;  // a bit a bucket; may stay set after a cancel
  };
  std::array<Level, kLevels> levels_;
  List due_;
  std::uint64_t now_;                       // ticks up to which buckets were collected
  std::uint64_t next_ = ~std::uint64_t{0};  // tick of the earliest occupied bucket, all ones: none
};

}  // namespace weir::internal
