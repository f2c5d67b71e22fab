// BudgetHolders: the connections of one group that hold much of the budget of buffered bytes. Ends
// them, or stops their reads, when the budget is spent. Internal. [loop]
//
// A holder is a connection that has held BufferBudget::kOwnShare or more, and has not been without
// buffered bytes since. When a connection finds no room, stalled holders are ended, the largest
// first: on this loop at once, on the others soon. If that makes no room, a holder that was to be
// read is starved: it waits in a queue, and resumes when memory is freed on any loop. A timer runs
// only while connections wait, to find holders that have become stalled.
//
// Holders are few, so their entries are kept outside of Connection. A holder that ends removes its
// entry itself. Ending a holder calls no handler, and frees the connection only in the reap phase.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>

#include "weir/base/clock.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/internal/timer_queue.h"
#include "weir/net/stream/internal/buffer_budget.h"

namespace weir::internal {

class Connection;
class ConnectionGroup;

class BudgetHolders final : private BudgetOwner {
 public:
  explicit BudgetHolders(ConnectionGroup& group) : group_(group) {}
  BudgetHolders(const BudgetHolders&) = delete;
  BudgetHolders& operator=(const BudgetHolders&) = delete;

  BudgetOwner& owner() { return *this; }

  // The connection has become a holder. Without memory for its entry it is not one yet.
  void add(Connection& connection) noexcept;
  // A holder has become starved, is not starved any more, or holds nothing any more.
  void update(Connection& connection);
  // A connection of the group freed memory.
  void released() {
    if (!starved_.empty()) resume_later();
  }

  // Whether `size` more bytes may be buffered. Ends stalled holders for that if necessary, but
  // never `requester`.
  bool make_room(const Connection& requester, std::uint64_t size);
  // Resumes reading of the starved connections for which there is room, in the order of their
  // waits.
  void resume();

 private:
  struct AllTag;
  struct StarvedTag;
  struct Entry : ListHook<AllTag>, ListHook<StarvedTag> {
    explicit Entry(Connection& of) : connection(of) {}
    Connection& connection;
  };

  // Of BudgetOwner.
  void budget_released() override { released(); }
  void budget_short() override;
  void budget_exhausted() override;

  void begin_waiting();
  void end_waiting();
  void resume_later();
  void extend_patience();
  void wait_for_process();
  void search();
  void end_stalled(const Connection* requester, std::uint64_t wanted);
  void end_largest();
  std::size_t find_largest(std::span<Connection*> found, const Connection* requester,
                           bool only_stalled);

  ConnectionGroup& group_;
  std::unordered_map<const Connection*, Entry> entries_;
  IntrusiveList<Entry, AllTag> holders_;
  IntrusiveList<Entry, StarvedTag> starved_;
  TimerId timer_;              // while connections are starved
  TimePoint next_search_;      // no search for stalled holders before: the last found too little
  TimePoint patience_ends_;    // the largest holder is ended if no memory was freed until then
  TimePoint last_forced_end_;  // when a holder was last ended that was not stalled
};

}  // namespace weir::internal
