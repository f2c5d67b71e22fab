#include "weir/net/reactor/internal/reap_list.h"

#include <iterator>

#include "weir/net/reactor/internal/watchdog.h"

namespace weir::internal {

std::size_t ReapList::count_clients() {
  return static_cast<std::size_t>(std::distance(reaping_.begin(), reaping_.end()) +
                                  std::distance(to_reap_.begin(), to_reap_.end()));
}

void ReapList::add_again(DeadlineClient& client) {
  to_reap_.push_back(client);
  clients_left_ = count_clients();
}

// A kept object is freed once every client that was in the list at the end of that turn has been
// reaped. That may take several turns. Clients that join later do not delay it.
void ReapList::run(LoopWatch& watch) {
  reaping_.splice(to_reap_);
  for (std::size_t reaped = 0; reaped < kMaxReapedPerTurn; ++reaped) {
    DeadlineClient* const client = reaping_.pop_front();
    if (client == nullptr) break;
    if (clients_left_ > 0) --clients_left_;
    watch.enter(Activity::reap);
    client->on_reap();
    watch.leave();
  }
  if (clients_left_ > 0 && has_clients()) return;
  clients_left_ = 0;
  if (kept_for_clients_.empty() && !kept_.empty()) {
    kept_for_clients_.splice(kept_);
    clients_left_ = count_clients();
  }
  if (clients_left_ > 0 || kept_for_clients_.empty()) return;
  watch.enter(Activity::reap);
  while (Kept* const object = kept_for_clients_.pop_front()) object->self_ = nullptr;
  watch.leave();
}

}  // namespace weir::internal
