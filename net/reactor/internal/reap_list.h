// ReapList: phase 7 of the turn. Closed objects are freed only there, so that no object is freed
// while one of its functions runs. [loop]
//
// Neither add() nor keep_until_reaped() needs memory. If a client throws, the others are reaped in
// the next call.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/loop_client.h"

namespace weir::internal {

class LoopWatch;

class ReapList {
 public:
  // The maximum number of connections that end in one turn. on_close and close(2), which takes tens
  // of microseconds if it sends a RST, then take some milliseconds in total. The others wait for
  // the next turn, which follows immediately.
  static constexpr std::size_t kMaxReapedPerTurn = 64;

  // Queues a client, which leaves the wheel. Does nothing if it is already queued.
  void add(DeadlineClient& client) { to_reap_.push_back(client); }
  // Called in on_reap() of a client that cannot be freed yet.
  void add_again(DeadlineClient& client);
  // Keeps `object` until all clients that are queued at the end of this turn have been reaped.
  void keep_until_reaped(Kept& object, std::shared_ptr<void> self) noexcept {
    object.self_ = std::move(self);
    kept_.push_back(object);
  }

  // Reaps the clients that are queued now, at most kMaxReapedPerTurn, then frees the objects that
  // were kept for them. Clients that are added during the call wait for the next one.
  void run(LoopWatch& watch);
  // True if run() has work now.
  bool has_work() const { return has_clients() || !kept_.empty(); }
  // True if no client is queued and no object is kept.
  bool empty() const { return !has_work() && kept_for_clients_.empty(); }

 private:
  bool has_clients() const { return !to_reap_.empty() || !reaping_.empty(); }
  std::size_t count_clients();

  using List = IntrusiveList<DeadlineClient, DeadlineTag>;
  List to_reap_;
  List reaping_;                       // the rest of the previous run()
  IntrusiveList<Kept, KeptTag> kept_;  // added since kept_for_clients_ was filled
  // Freed when clients_left_ more clients have been reaped.
  IntrusiveList<Kept, KeptTag> kept_for_clients_;
  std::size_t clients_left_ = 0;
};

}  // namespace weir::internal
