#include "weir/net/reactor/internal/reap_list.h"

#include <iterator>

#include "weir/net/reactor/internal/watchdog.h"

namespace weir::internal {

std::size_t ReapList::count_dead() {
  return static_cast<std::size_t>(std::distance(reaping_.begin(), reaping_.end()) +
                                  std::distance(to_reap_.begin(), to_reap_.end()));
}

void ReapList::add_again(DeadlineClient& client) {
  to_reap_.push_back(client);
  dead_before_buried_ = count_dead();
}

// A kept object is freed once every client that was in the list at the end of that turn has been
// reaped. That may take several turns. Clients that join later do not delay it.
void ReapList::run(LoopWatch& watch) {
  reaping_.splice(to_reap_);
  for (std::size_t reaped = 0; reaped < kMaxReapedPerTurn; ++reaped) {
    DeadlineClient* const client = reaping_.pop_front();
    if (client == nullptr) break;
    if (dead_before_buried_ > 0) --dead_before_buried_;
    watch.enter(Activity::reap);
    client->on_reap();
    watch.leave();
  }
  if (dead_before_buried_ > 0 && has_dead()) return;
  dead_before_buried_ = 0;
  if (buried_.empty() && !graveyard_.empty()) {
    buried_.swap(graveyard_);
    dead_before_buried_ = count_dead();
  }
  if (dead_before_buried_ > 0 || buried_.empty()) return;
  watch.enter(Activity::reap);
  std::vector<std::shared_ptr<void>>().swap(buried_);
  watch.leave();
}

}  // namespace weir::internal
