#include "weir/net/reactor/internal/timer_queue.h"

#include <algorithm>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/wraps.h"
#include "weir/net/reactor/internal/watchdog.h"

namespace weir::internal {

namespace {
// Below these sizes, stale entries and free slots are kept.
constexpr std::size_t kSmallHeap = 64;
constexpr std::size_t kSmallSlots = 1024;
constexpr std::size_t kArity = 4;
// The entry that run() has taken out of due_ and not yet put back into the heap.
constexpr std::size_t kRunning = 1;
}  // namespace

WEIR_WRAPS bool TimerQueue::before(const Entry& a, const Entry& b) {
  if (a.deadline != b.deadline) return a.deadline < b.deadline;
  return static_cast<std::int32_t>(a.sequence - b.sequence) < 0;
}

std::uint32_t TimerQueue::next_sequence() {
  if (++sequence_ == 0) ++sequence_;
  return sequence_;
}

// Allocates all memory before it changes anything. The heap also gets room for the entries in due_,
// because those of periodic timers return to the heap.
TimerId TimerQueue::schedule(TimePoint deadline, Duration period, Task task) {
  const std::size_t needed = entries() + kRunning + 1;
  if (heap_.capacity() < needed) heap_.reserve(2 * needed);
  std::uint32_t slot = first_free_;
  if (slot != kNone) {
    first_free_ = slots_[slot].next_free;
  } else {
    WEIR_CHECK(slots_.size() < kNone, "more than {} timers on one loop", kNone);
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  }
  Slot& place = slots_[slot];
  place.task = std::move(task);
  place.period = period;
  place.sequence = next_sequence();
  ++live_;
  const TimerId id{slot, place.sequence};
  push({deadline, id.slot, id.sequence});
  check_invariants();
  return id;
}

bool TimerQueue::cancel(TimerId id) {
  if (!id || id.slot >= slots_.size() || slots_[id.slot].sequence != id.sequence) return false;
  const Task doomed =
      std::move(slots_[id.slot].task);  // its destructor may call back into this queue
  free_slot(id.slot);
  drop_stale_entries();
  release_if_idle();
  check_invariants();
  return true;
}

void TimerQueue::free_slot(std::uint32_t slot) {
  slots_[slot].task = nullptr;
  slots_[slot].sequence = 0;
  slots_[slot].next_free = first_free_;
  first_free_ = slot;
  --live_;
}

std::optional<TimePoint> TimerQueue::next() {
  if (due_next_ < due_.size()) return TimePoint::min();
  drop_stale_top();
  if (heap_.empty()) return std::nullopt;
  return heap_.front().deadline;
}

std::size_t TimerQueue::expire(TimePoint now, LoopWatch* watch, Counter* ever) {
  if (due_next_ == due_.size()) {
    due_.clear();
    due_next_ = 0;
    for (drop_stale_top();
         !heap_.empty() && heap_.front().deadline <= now && due_.size() < kMaxExpiredPerTurn;
         drop_stale_top()) {
      due_.push_back(heap_.front());
      pop();
    }
  }
  std::size_t ran = 0;
  while (due_next_ < due_.size()) {
    const Entry entry = due_[due_next_++];
    if (stale(entry)) continue;  // cancelled by a timer that ran before it
    ++ran;
    if (ever != nullptr) ++*ever;
    if (watch != nullptr) watch->enter(Activity::timer, entry.slot);
    run(entry, now);
    if (watch != nullptr) watch->leave();
  }
  release_if_idle();
  check_invariants();
  return ran;
}

// Moves the task out of its slot, because the task may set timers (slots_ is reallocated) or cancel
// this one.
void TimerQueue::run(const Entry& entry, TimePoint now) {
  Task task = std::move(slots_[entry.slot].task);
  const Duration period = slots_[entry.slot].period;
  if (period == Duration::zero()) {
    free_slot(entry.slot);
    task();
    return;
  }
  const auto missed = (now - entry.deadline) / period;
  const TimePoint again = saturating_add(entry.deadline, (missed + 1) * period);
  push({again, entry.slot, entry.sequence});  // before the call: it stays set even if it throws
  struct PutBack {
    TimerQueue& queue;
    const Entry& entry;
    Task& task;
    ~PutBack() {
      if (!queue.stale(entry)) queue.slots_[entry.slot].task = std::move(task);
    }
  } const put_back{*this, entry, task};
  task();
}

void TimerQueue::push(Entry entry) {
  std::size_t hole = heap_.size();
  heap_.push_back(entry);
  while (hole > 0) {
    const std::size_t parent = (hole - 1) / kArity;
    if (!before(entry, heap_[parent])) break;
    heap_[hole] = heap_[parent];
    hole = parent;
  }
  heap_[hole] = entry;
}

void TimerQueue::pop() {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (!heap_.empty()) sift_down(0, last);
}

void TimerQueue::sift_down(std::size_t index, Entry entry) {
  for (;;) {
    const std::size_t first = index * kArity + 1;
    if (first >= heap_.size()) break;
    const std::size_t end = std::min(first + kArity, heap_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (before(heap_[child], heap_[least])) least = child;
    }
    if (!before(heap_[least], entry)) break;
    heap_[index] = heap_[least];
    index = least;
  }
  heap_[index] = entry;
}

void TimerQueue::drop_stale_top() {
  while (!heap_.empty() && stale(heap_.front())) pop();
}

// Rebuilds the heap without its stale entries once they are at least half, and frees memory.
void TimerQueue::drop_stale_entries() {
  if (heap_.size() < kSmallHeap || live_ * 2 > heap_.size()) return;
  std::erase_if(heap_, [this](const Entry& entry) { return stale(entry); });
  for (std::size_t index = heap_.size() / kArity + 1; index-- > 0;) {
    if (index < heap_.size()) sift_down(index, heap_[index]);
  }
  const std::size_t needed = entries() + kRunning;
  if (heap_.capacity() <= 4 * needed + kSmallHeap) return;
  const std::size_t live = heap_.size();
  heap_.resize(needed);  // the capacity that schedule() guarantees
  heap_.shrink_to_fit();
  heap_.resize(live);
}

void TimerQueue::release_if_idle() {
  if (live_ != 0 || slots_.size() <= kSmallSlots || due_next_ < due_.size()) return;
  slots_ = std::vector<Slot>();
  heap_ = std::vector<Entry>();
  due_ = std::vector<Entry>();
  due_next_ = 0;
  first_free_ = kNone;
}

// From the entry at `index` up to the top of the heap.
bool TimerQueue::ordered_from(std::size_t index) const {
  while (index > 0) {
    const std::size_t parent = (index - 1) / kArity;
    if (before(heap_[index], heap_[parent])) return false;
    index = parent;
  }
  return true;
}

void TimerQueue::check_invariants() const {
  WEIR_DCHECK(heap_.size() < 2 || (ordered_from(1) && ordered_from(heap_.size() - 1)),
              "TimerQueue 1: the heap is out of order");
  WEIR_DCHECK(live_ <= entries(), "TimerQueue 2: {} timers have {} entries", live_, entries());
  WEIR_DCHECK((first_free_ == kNone) == (live_ == slots_.size()),
              "TimerQueue 3: {} timers in {} slots, first free slot {}", live_, slots_.size(),
              first_free_);
  WEIR_DCHECK(first_free_ == kNone || slots_[first_free_].sequence == 0,
              "TimerQueue 3: the first free slot belongs to a timer");
  WEIR_DCHECK(heap_.capacity() >= entries(), "TimerQueue 4: room for {} of {} entries",
              heap_.capacity(), entries());
}

void TimerQueue::check_all() const {
  std::size_t valid = 0;
  for (std::size_t i = 0; i < heap_.size(); ++i) {
    WEIR_CHECK(i == 0 || !before(heap_[i], heap_[(i - 1) / kArity]),
               "TimerQueue 1: entry {} of {} is before its parent", i, heap_.size());
    if (!stale(heap_[i])) ++valid;
  }
  for (std::size_t i = due_next_; i < due_.size(); ++i) {
    if (!stale(due_[i])) ++valid;
  }
  WEIR_CHECK(valid == live_, "TimerQueue 2: {} timers have {} valid entries", live_, valid);
  std::size_t free = 0;
  for (std::uint32_t slot = first_free_; slot != kNone && free <= slots_.size();
       slot = slots_[slot].next_free) {
    ++free;
  }
  WEIR_CHECK(live_ + free == slots_.size(), "TimerQueue 3: {} timers and {} free slots of {}",
             live_, free, slots_.size());
}

std::size_t TimerQueue::memory() const {
  check_all();
  return heap_.capacity() * sizeof(Entry) + slots_.capacity() * sizeof(Slot) +
         due_.capacity() * sizeof(Entry);
}

}  // namespace weir::internal
