#include "weir/net/reactor/internal/idle_wheel.h"

#include <algorithm>
#include <bit>

#include "weir/net/reactor/internal/watchdog.h"

namespace weir::internal {

WEIR_WRAPS void IdleWheel::schedule(DeadlineClient& client, Tick deadline) {
  client.unlink();
  const auto ahead = static_cast<std::int32_t>(deadline - static_cast<Tick>(now_));
  // A deadline that has passed goes into the next tick, never into one that was already collected.
  const std::uint64_t target = now_ + static_cast<std::uint64_t>(std::max(ahead, 1));
  for (int level = 0; level < kLevels; ++level) {
    const int shift = level * kLevelShift;
    const std::uint64_t position = (target + (std::uint64_t{1} << shift) - 1) >> shift;
    if (position - (now_ >> shift) >= kBuckets && level + 1 < kLevels) continue;
    const std::size_t bucket = position % kBuckets;
    levels_[static_cast<std::size_t>(level)].buckets[bucket].push_back(client);
    levels_[static_cast<std::size_t>(level)].occupied |= std::uint64_t{1} << bucket;
    next_ = std::min(next_, position << shift);
    return;
  }
}

// Not beyond the next bucket, which expire() has to collect.
WEIR_WRAPS void IdleWheel::catch_up(Tick now) {
  const auto passed = static_cast<std::int32_t>(now - static_cast<Tick>(now_));
  if (passed > 0) now_ = std::min(now_ + static_cast<std::uint64_t>(passed), next_ - 1);
}

std::optional<TimePoint> IdleWheel::next() const {
  if (!due_.empty()) return TimePoint::min();
  if (next_ == ~std::uint64_t{0}) return std::nullopt;
  return TimePoint(Duration(static_cast<std::int64_t>(next_ << kTickShift)));
}

void IdleWheel::expire(TimePoint now, LoopWatch* watch) {
  const std::uint64_t tick = full_tick(now);
  if (tick >= next_) {
    for (int level = 0; level < kLevels; ++level) {
      const int shift = level * kLevelShift;
      if ((tick >> shift) == (now_ >> shift)) break;  // the coarser levels have not moved either
      collect(level, now_ >> shift, tick >> shift);
    }
    now_ = tick;
    find_next();
  } else {
    now_ = std::max(now_, tick);
  }
  for (std::size_t served = 0; served < kMaxExpiredPerTurn; ++served) {
    DeadlineClient* const client = due_.pop_front();
    if (client == nullptr) return;
    if (watch != nullptr) watch->enter(Activity::deadline);
    client->on_deadline();
    if (watch != nullptr) watch->leave();
  }
}

// Moves the buckets after `from` up to and including `to` into due_.
void IdleWheel::collect(int level, std::uint64_t from, std::uint64_t to) {
  Level& wheel = levels_[static_cast<std::size_t>(level)];
  const std::uint64_t count = std::min<std::uint64_t>(to - from, kBuckets);
  for (std::uint64_t i = 1; i <= count && wheel.occupied != 0; ++i) {
    const std::size_t bucket = (from + i) % kBuckets;
    const std::uint64_t bit = std::uint64_t{1} << bucket;
    if ((wheel.occupied & bit) == 0) continue;
    wheel.occupied &= ~bit;
    due_.splice(wheel.buckets[bucket]);
  }
}

void IdleWheel::find_next() {
  next_ = ~std::uint64_t{0};
  for (int level = 0; level < kLevels; ++level) {
    const std::uint64_t occupied = levels_[static_cast<std::size_t>(level)].occupied;
    if (occupied == 0) continue;
    const int shift = level * kLevelShift;
    const std::uint64_t position = (now_ >> shift) + 1;
    const int ahead = std::countr_zero(std::rotr(occupied, static_cast<int>(position % kBuckets)));
    next_ = std::min(next_, (position + static_cast<std::uint64_t>(ahead)) << shift);
  }
}

}  // namespace weir::internal
