// BudgetHolders: the connections of one group that hold much of the budget of buffered bytes, and
// what happens to them when it is spent. Internal to the tcp floor. [loop]
//
// A holder is a connection that has come to hold BufferBudget::kOwnShare and has not given all of
// that back since. When a connection finds no room, stalled holders are ended, the largest first,
// on this loop at once and on the others soon. If that makes no room, a holder that was to be read
// is starved: it waits in a queue, and goes on when memory is given back, on whatever loop. A timer
// runs only while connections wait, to find holders that have become stalled.
//
// Holders are few, so what is kept for each is outside of Connection. They leave the lists
// themselves, whatever ends them; ending one calls no handler and frees nothing before the reap
// phase.
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

  // The connection has become a holder. With no memory to note that, it is not one yet.
  void add(Connection& connection) noexcept;
  // A holder is starved, or is not any more, or holds nothing any more.
  void update(Connection& connection);
  // A connection of the group gave memory back.
  void released() {
    if (!starved_.empty()) resume_later();
  }

  // Whether `size` more bytes may be buffered, after stalled holders have been ended for it if need
  // be, but never the one that asks.
  bool make_room(const Connection& asks, std::uint64_t size);
  // Has those go on to read for whom there is room, the one that has waited longest first.
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
  void look();
  void end_stalled(const Connection* asks, std::uint64_t wanted);
  void end_largest();
  std::size_t find_largest(std::span<Connection*> found, const Connection* asks, bool only_stalled);

  ConnectionGroup& group_;
  std::unordered_map<const Connection*, Entry> entries_;
  IntrusiveList<Entry, AllTag> holders_;
  IntrusiveList<Entry, StarvedTag> starved_;
  TimerId timer_;            // while connections are starved
  TimePoint next_search_;    // for stalled holders: the last one did not find enough
  TimePoint patience_ends_;  // the largest holder goes if nothing was given back until then
  TimePoint last_given_up_;  // when one went that was not stalled
};

}  // namespace weir::internal
