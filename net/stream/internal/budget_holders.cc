#include "weir/net/stream/internal/budget_holders.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <new>

#include "weir/base/log_line.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/internal/connection_inline.h"

namespace weir::internal {

namespace {

// A holder that has moved no byte for this time, although it could, is ended when others need its
// memory. If no memory at all was freed for this time, the largest holder is ended.
constexpr Duration kPatience = std::chrono::seconds(5);
// The period of searches for stalled holders, and of ending the next largest holder while there is
// still no room.
constexpr Duration kSearchPeriod = std::chrono::milliseconds(250);
// Limits of one search, and of one resumption, in a turn.
constexpr std::size_t kMostSearched = 4096;
constexpr std::size_t kMostEnded = 16;
constexpr std::uint64_t kMostResumed = 64;

}  // namespace

void BudgetHolders::add(Connection& connection) noexcept {
  try {
    holders_.push_back(entries_.try_emplace(&connection, connection).first->second);
    connection.set_holder(true);
  } catch (const std::bad_alloc&) {
    connection.set_holder(false);
  }
}

void BudgetHolders::update(Connection& connection) {
  const auto found = entries_.find(&connection);
  ListHook<StarvedTag>& queued = found->second;
  if (connection.starved()) {
    if (queued.linked()) return;
    const bool first = starved_.empty();
    starved_.push_back(found->second);
    ++group_.starved;
    if (first) begin_waiting();
    return;
  }
  const bool was_starved = queued.linked();
  queued.unlink();
  if (connection.charged() == 0) {
    connection.set_holder(false);
    entries_.erase(found);
  }
  if (!was_starved) return;
  if (starved_.empty()) {
    end_waiting();
  } else {
    resume_later();
  }
}

void BudgetHolders::begin_waiting() {
  WEIR_LOG_LIMITED(warn, 1,
                   "the budget of buffered bytes is spent ({} by these connections, {} in the "
                   "process): connections that hold 64 KiB or more are not read",
                   group_.budget.held(), buffered_bytes());
  timer_ = group_.loop.run_every(kSearchPeriod, [this] { search(); });
  group_.limit_reads(true);
  extend_patience();
  wait_for_process();
}

void BudgetHolders::end_waiting() {
  group_.loop.cancel(timer_);
  group_.limit_reads(false);
  wait_for_process();
}

// Requests resume() in the flush phase, through the first connection of the queue: not while a
// batch of events is dispatched, because one of them may report that the peer of a starved
// connection is gone.
void BudgetHolders::resume_later() {
  Entry* const first = starved_.front();
  if (first != nullptr && group_.budget.has_room(1)) first->connection.settle_later();
}

// Each connection that resumes requests the next resumption, in the next turn: see update().
void BudgetHolders::resume() {
  const std::uint64_t room = group_.budget.room();
  if (room > 0) extend_patience();
  const std::uint64_t shares = room / BufferBudget::kOwnShare + (room > 0 ? 1 : 0);
  for (std::uint64_t remaining = std::min(shares, kMostResumed); remaining > 0; --remaining) {
    Entry* const first = starved_.front();
    if (first == nullptr) return;
    Connection& next = first->connection;
    next.without_throwing([&next] {
      next.apply_budget();
      next.read_gate_changed();
    });
    if (next.starved()) break;
  }
  wait_for_process();
}

// While the largest holders are ended one after the other, freed memory extends it only shortly.
void BudgetHolders::extend_patience() {
  const TimePoint now = group_.loop.now();
  patience_ends_ = now + (now - last_forced_end_ < kPatience ? kSearchPeriod / 2 : kPatience);
}

// Waits for other accounts only if it is the bound of the process that leaves no room.
void BudgetHolders::wait_for_process() {
  group_.budget.wait_for_process(!starved_.empty() && !group_.budget.process_has_room(1));
  resume_later();  // there may be room since
}

bool BudgetHolders::make_room(const Connection& requester, std::uint64_t size) {
  BufferBudget& budget = group_.budget;
  if (budget.has_room(size)) return true;
  const TimePoint now = group_.loop.now();
  if (now < next_search_ || size > budget.bound()) return false;
  end_stalled(&requester, size);
  if (budget.has_room(size)) return true;
  next_search_ = now + kSearchPeriod;
  if (!budget.process_has_room(size)) budget.ask_others();
  return false;
}

// Called every kSearchPeriod while connections are starved.
void BudgetHolders::search() {
  BufferBudget& budget = group_.budget;
  const TimePoint now = group_.loop.now();
  if (!budget.has_room(1)) end_stalled(nullptr, BufferBudget::kOwnShare);
  if (!budget.has_room(1)) {
    const bool process_has_room = budget.process_has_room(1);
    if (!process_has_room) budget.ask_others();
    if (now >= patience_ends_) {
      last_forced_end_ = now;
      if (process_has_room || !budget.ask_largest()) end_largest();
    }
  }
  wait_for_process();
}

void BudgetHolders::budget_short() {
  group_.budget.report();
  end_stalled(nullptr, BufferBudget::kOwnShare);
}

void BudgetHolders::budget_exhausted() {
  if (!group_.budget.process_has_room(1)) end_largest();
}

void BudgetHolders::end_stalled(const Connection* requester, std::uint64_t wanted) {
  if (group_.budget.has_room(wanted)) return;
  std::array<Connection*, kMostEnded> found{};
  const std::size_t count = find_largest(found, requester, true);
  for (std::size_t i = 0; i < count && !group_.budget.has_room(wanted); ++i) {
    found[i]->end_to_free_memory();
  }
}

void BudgetHolders::end_largest() {
  Connection* largest = nullptr;
  if (find_largest({&largest, 1}, nullptr, false) > 0) largest->end_to_free_memory();
}

// Fills `found` with holders that may be ended, the largest first, and returns their number. If
// there are more holders than kMostSearched, the next search begins with the others.
std::size_t BudgetHolders::find_largest(std::span<Connection*> found, const Connection* requester,
                                        bool only_stalled) {
  const Tick patience = ticks_of(kPatience);
  std::size_t count = 0;
  for (std::size_t remaining = std::min(entries_.size(), kMostSearched); remaining > 0;
       --remaining) {
    Entry* const entry = holders_.pop_front();
    if (entry == nullptr) break;
    holders_.push_back(*entry);
    Connection& holder = entry->connection;
    if (&holder == requester || holder.charged() < BufferBudget::kOwnShare) continue;
    if (count == found.size() && holder.charged() <= found[count - 1]->charged()) continue;
    if (group_.io->running == &holder || (only_stalled && !holder.stalled_for(patience))) continue;
    std::size_t at = count < found.size() ? count++ : count - 1;
    for (; at > 0 && found[at - 1]->charged() < holder.charged(); --at) found[at] = found[at - 1];
    found[at] = &holder;
  }
  return count;
}

}  // namespace weir::internal
