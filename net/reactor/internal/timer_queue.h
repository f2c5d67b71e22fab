// TimerQueue: the precise timers of one loop, ordered by deadline, then by when they were set.
// [loop]
//
// A 4-ary heap of {deadline, slot, sequence}. Cancelling frees the slot and its task at once and
// leaves the heap entry behind, which is dropped when it surfaces or when such entries are the
// majority. So setting is O(1) for deadlines in rising order (O(log n) at worst) and cancelling is
// O(1) amortised. Slots are used again; their memory goes back when no timer is left.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/counter.h"
#include "weir/net/reactor/task.h"

namespace weir::internal {

class LoopWatch;

class TimerQueue {
 public:
  // Timers run in one turn before the loop looks at its descriptors again. A callback takes about a
  // microsecond, so this bounds the phase to a few milliseconds.
  static constexpr std::size_t kMaxExpiredPerTurn = 4096;

  // period zero: once. Otherwise again every `period`, counted from the planned deadline; deadlines
  // missed meanwhile are skipped, not made up for.
  TimerId schedule(TimePoint deadline, Duration period, Task task);
  // False when it has run, was cancelled, or is running for the last time. After true it never runs
  // again.
  bool cancel(TimerId id);

  // The earliest deadline; nullopt when no timer is set. TimePoint::min(): some are due already.
  std::optional<TimePoint> next();

  // Runs what is due at `now`, at most kMaxExpiredPerTurn. Timers set meanwhile wait for the next
  // turn. If one throws, the others that were due run with the next call. Returns how many ran.
  // `watch` is told of each; `ever` counts them, one that throws too.
  std::size_t expire(TimePoint now, LoopWatch* watch = nullptr, Counter* ever = nullptr);

  std::size_t size() const { return live_; }
  std::size_t memory() const;

 private:
  struct Entry {
    TimePoint deadline;
    std::uint32_t slot;
    std::uint32_t sequence;
  };
  struct Slot {
    Task task;
    Duration period{};
    std::uint32_t sequence = 0;  // 0: free
    std::uint32_t next_free = 0;
  };

  static bool before(const Entry& a, const Entry& b);
  bool stale(const Entry& entry) const {
    return entry.slot >= slots_.size() || slots_[entry.slot].sequence != entry.sequence;
  }
  std::uint32_t next_sequence();
  void push(Entry entry);
  void pop();
  void sift_down(std::size_t index, Entry entry);
  void drop_stale_top();
  void drop_stale_entries();
  void release_if_idle();
  void free_slot(std::uint32_t slot);
  void run(const Entry& entry, TimePoint now);

  std::vector<Entry> heap_;
  std::vector<Slot> slots_;
  std::vector<Entry> due_;  // the snapshot that expire() works through
  std::size_t due_next_ = 0;
  std::size_t live_ = 0;
  std::uint32_t first_free_ = kNone;
  std::uint32_t sequence_ = 0;

  static constexpr std::uint32_t kNone = 0xffffffff;
};

}  // namespace weir::internal
