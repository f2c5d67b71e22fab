// TimerQueue: the precise timers of one loop, ordered by deadline, then by the order in which they
// were set. [loop]
//
// A 4-ary heap of {deadline, slot, sequence}. Cancelling frees the slot and its task immediately
// and leaves a stale entry in the heap, which is removed when it reaches the top or when at least
// half of the entries are stale. So setting is O(1) for ascending deadlines (O(log n) in the worst
// case), and cancelling is O(1) amortised. Slots are reused; their memory is freed when no timer is
// left.
//
// Invariants, checked by check_invariants() at the end of schedule(), cancel() and expire(), and
// for all entries and slots by memory():
//   1  heap_ is ordered by before(): no entry is before its parent.
//   2  Each of the size() timers has one entry, in heap_ or in due_ from due_next_ on. All other
//      entries are stale.
//   3  Each slot belongs to a timer or is in the list of free slots.
//   4  heap_ has capacity for the entries that are in due_, so that periodic timers return to it
//      without allocation.
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
  // The maximum number of timers that run in one turn. A callback takes about a microsecond, so the
  // phase takes at most a few milliseconds.
  static constexpr std::size_t kMaxExpiredPerTurn = 4096;

  // period zero: runs once. Otherwise it runs every `period`, counted from the planned deadline;
  // missed deadlines are skipped.
  TimerId schedule(TimePoint deadline, Duration period, Task task);
  // True: the timer will not run again. False: it has run, was cancelled, or is running for the
  // last time.
  bool cancel(TimerId id);

  // The earliest deadline; nullopt when no timer is set. TimePoint::min(): timers of the last
  // expire() are still due.
  std::optional<TimePoint> next();

  // Runs the timers that are due at `now`, at most kMaxExpiredPerTurn, and returns their number.
  // Timers that are set by them wait for the next turn. If one throws, the others that were due run
  // in the next call. `watch` is notified of each; `ever` counts them, including one that throws.
  std::size_t expire(TimePoint now, LoopWatch* watch = nullptr, Counter* ever = nullptr);

  std::size_t size() const { return live_; }
  // For tests: the heap memory held, in bytes. O(n).
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
  std::size_t entries() const { return heap_.size() + (due_.size() - due_next_); }
  bool ordered_from(std::size_t index) const;
  void check_invariants() const;  // O(log n); nothing in release builds
  void check_all() const;

  std::vector<Entry> heap_;
  std::vector<Slot> slots_;
  std::vector<Entry> due_;  // the snapshot that expire() runs, from due_next_ on
  std::size_t due_next_ = 0;
  std::size_t live_ = 0;
  std::uint32_t first_free_ = kNone;
  std::uint32_t sequence_ = 0;

  static constexpr std::uint32_t kNone = 0xffffffff;
};

}  // namespace weir::internal
