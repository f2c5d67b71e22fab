// ReapList: phase 7 of the turn. What has ended is freed there, and nowhere else, so that no call
// that is still under way loses the object that it is in. [loop]
//
// Taking a place needs no memory, and an exception costs nobody else their turn.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/loop_client.h"

namespace weir::internal {

class LoopWatch;

class ReapList {
 public:
  // Connections that end in one turn, with on_close and close(2), which takes tens of microseconds
  // where it sends a RST: some milliseconds in all. More wait for the next turn, which comes at
  // once.
  static constexpr std::size_t kMaxReapedPerTurn = 64;

  // Each client once, until its turn has come. Takes it out of the wheel.
  void add(DeadlineClient& client) { to_reap_.push_back(client); }
  // From on_reap(), of a client that cannot go yet.
  void add_again(DeadlineClient& client);
  // Keeps `object` until all clients have gone that are to be reaped by the end of this turn.
  void keep_until_reaped(std::shared_ptr<void> object) { graveyard_.push_back(std::move(object)); }

  // Those that were added by now, up to the bound; then what was kept for them. Clients that are
  // added meanwhile wait for the next call.
  void run(LoopWatch& watch);
  // run() has something to do, at once.
  bool has_work() const { return has_dead() || !graveyard_.empty(); }
  // Nothing is added any more, and nothing is kept.
  bool empty() const { return !has_work() && buried_.empty(); }

 private:
  bool has_dead() const { return !to_reap_.empty() || !reaping_.empty(); }
  std::size_t count_dead();

  using List = IntrusiveList<DeadlineClient, DeadlineTag>;
  List to_reap_;
  List reaping_;                                  // what is left of the run before
  std::vector<std::shared_ptr<void>> graveyard_;  // kept since buried_ was last filled
  std::vector<std::shared_ptr<void>> buried_;     // goes when this number of clients have gone:
  std::size_t dead_before_buried_ = 0;
};

}  // namespace weir::internal
