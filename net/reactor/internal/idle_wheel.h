// IdleWheel: coarse deadlines for a large number of connections. [loop]
//
// A wheel of kLevels levels with 64 buckets each; a bucket of level L spans 4^L ticks. A deadline
// goes into the finest level that reaches it, rounded up, and stays there. It never expires early,
// and late by at most one tick plus 1/15 of the time for which it was set. Setting and cancelling
// are O(1) and do not allocate.
//
// A message does not touch the wheel; it only stores a tick in its connection. When its bucket
// expires, the connection compares and schedules the rest of the time. So a message costs one
// store, and 10,000 idle connections cost one wake-up for each bucket.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "weir/base/clock.h"
#include "weir/base/intrusive_list.h"
#include "weir/base/wraps.h"
#include "weir/net/reactor/loop_client.h"

namespace weir::internal {

// A Tick is time in units of 2^23 ns (8.4 ms), modulo 2^32 (417 days). Compare with tick_reached().
constexpr int kTickShift = 23;

constexpr Tick tick_of(TimePoint t) {
  return static_cast<Tick>(static_cast<std::uint64_t>(t.time_since_epoch().count()) >> kTickShift);
}
// A duration in ticks, rounded up and increased by one so that floor(start) + ticks is never early.
// Limited to a quarter of the range of Tick (104 days), so that the deadline is in the future also
// for a wheel that was not turned for a while.
constexpr Tick ticks_of(Duration d) {
  constexpr std::int64_t kMax = 0x3fffffff;
  if (d <= Duration::zero()) return 1;
  const std::int64_t ticks = (d.count() >> kTickShift) + 2;
  return static_cast<Tick>(ticks < kMax ? ticks : kMax);
}
WEIR_WRAPS constexpr bool tick_reached(Tick deadline, Tick now) {
  return static_cast<std::int32_t>(now - deadline) >= 0;
}

class LoopWatch;

class IdleWheel {
 public:
  // The maximum number of clients called in one turn, so that 10,000 that expire together do not
  // delay the others.
  static constexpr std::size_t kMaxExpiredPerTurn = 1024;

  explicit IdleWheel(TimePoint now) : now_(full_tick(now)) {}

  // Calls client.on_deadline() when `deadline` has passed. Replaces an earlier deadline of the
  // client.
  void schedule(DeadlineClient& client, Tick deadline);
  void cancel(DeadlineClient& client) { client.unlink(); }
  // It is `now`. Call it before schedule(): expire() comes later in the turn and may be given an
  // earlier time, so after a long sleep the wheel would measure from before it and choose a level
  // that is too coarse.
  void catch_up(Tick now);

  // The time of the next call of expire(); nullopt when nothing is scheduled. TimePoint::min():
  // now.
  std::optional<TimePoint> next() const;
  // Calls the clients whose deadline has passed at `now`. `watch` is notified of each.
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
    std::uint64_t occupied = 0;  // a bit for each bucket; may stay set after a cancel
  };
  std::array<Level, kLevels> levels_;
  List due_;
  std::uint64_t now_;                       // the tick up to which buckets were collected
  std::uint64_t next_ = ~std::uint64_t{0};  // tick of the earliest occupied bucket; all ones: none
};

}  // namespace weir::internal
