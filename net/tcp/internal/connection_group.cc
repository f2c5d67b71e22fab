#include "weir/net/tcp/internal/connection_group.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <new>
#include <utility>

#include "weir/base/check.h"
#include "weir/base/log.h"
#include "weir/net/tcp/buffer_budget.h"
#include "weir/net/tcp/connection_ref.h"
#include "weir/net/tcp/internal/connection_inline.h"
#include "weir/net/tcp/internal/relay_pair.h"

namespace weir::internal {

ConnectionGroup::ConnectionGroup(EventLoop& on, const ConnectionLimits& with,
                                 std::shared_ptr<ConnectionHandler> tells,
                                 std::shared_ptr<OpenCount> open_count)
    : loop(on),
      limits(with),
      handler(std::move(tells)),
      io(LoopIo::of(on)),
      gather_at_once(std::min<std::uint64_t>(LoopIo::kGatherBlock, with.high_water - 1)),
      read_at_once(most_read_at_once()),
      budget(with.max_buffered),
      open_count_(std::move(open_count)) {}

ConnectionGroup::~ConnectionGroup() {
  WEIR_CHECK(connections_.empty(), "a group of connections destroyed before its connections");
}

void ConnectionGroup::adopt(Fd fd, PeerPlace place) {
  TcpConnection* const connection = make(std::move(fd), std::move(place));
  if (connection == nullptr) {
    WEIR_LOG_LIMITED(error, 1, "no memory for a connection: it is closed");
    open_count_->open.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  connections_.push_back(*connection);
  ++open_now;
  ++opened;
  if (watcher_ != nullptr) watcher_->on_adopted(*connection);
  connection->open();
}

// Takes all memory that a connection needs until on_open: who is told of it is told of its end, and
// nobody else. nullptr: there is none.
TcpConnection* ConnectionGroup::make(Fd fd, PeerPlace place) {
  TcpConnection* connection = nullptr;
  try {
    connection = new TcpConnection(*this, std::move(fd));  // frees itself in on_reap()
    if (place.counted()) places_.emplace(connection, std::move(place));
    return connection;
  } catch (const std::bad_alloc&) {
    delete connection;
    return nullptr;
  }
}

void ConnectionGroup::stop_gracefully() {
  for (TcpConnection& connection : connections_) connection.stop_gracefully();
}

void ConnectionGroup::abort_all() {
  for (TcpConnection& connection : connections_) {
    connection.reset({CloseReason::Kind::server_stopped, {}});
  }
  for (RelayPair* relay : relays) relay->cancel();
  tell_if_empty();
}

// Connections leave the list in the reap phase only, and join it behind the one at hand.
void ConnectionGroup::for_each(const std::function<void(TcpConnection&)>& fn) {
  for (TcpConnection& connection : connections_) {
    static_cast<void>(connection.ref().post([&fn](TcpConnection& open) { fn(open); }));
  }
}

void ConnectionGroup::orphan_all() {
  for (RelayPair* relay : std::exchange(relays, {})) {
    relay->forget_done();
    relay->forget_group(*this);
  }
  for (TcpConnection& connection : connections_) {
    connection.forget_handler();
    connection.reset({CloseReason::Kind::server_stopped, {}});
  }
}

void ConnectionGroup::watch(TcpConnection& connection, std::shared_ptr<ConnectionWatcher> watcher) {
  connection.group_->io->watchers.emplace(&connection, std::move(watcher));
  connection.watched_ = true;
}

void ConnectionGroup::end_watch(TcpConnection& connection, const ConnectionWatcher* watcher) {
  LoopIo::Watchers& watchers = connection.group_->io->watchers;
  const auto [begin, end] = watchers.equal_range(&connection);
  const auto watch =
      std::find_if(begin, end, [&](const auto& entry) { return entry.second.get() == watcher; });
  if (watch == end) return;
  connection.watched_ = std::distance(begin, end) > 1;
  watchers.erase(watch);
}

void ConnectionGroup::when_empty(std::move_only_function<void()> callback) {
  if (empty()) {
    callback();
  } else {
    when_empty_ = std::move(callback);
  }
}

void ConnectionGroup::tell_ended(TcpConnection& connection) {
  if (watcher_ != nullptr) watcher_->on_ended(connection, connection.reason_);
}

void ConnectionGroup::remove(TcpConnection& connection) {
  connection.ListHook<GroupTag>::unlink();
  if (!places_.empty()) places_.erase(&connection);
  open_now.set(open_now.value() - 1);
  open_count_->open.fetch_sub(1, std::memory_order_relaxed);
  if (connections_.empty() && budget_timer_) loop.cancel(std::exchange(budget_timer_, {}));
}

void ConnectionGroup::leave(RelayPair& relay) {
  relays.erase(&relay);
  tell_if_empty();
}

void ConnectionGroup::tell_if_empty() {
  if (!empty() || !when_empty_) return;
  auto callback = std::exchange(when_empty_, nullptr);
  try {
    callback();
  } catch (...) {  // no memory for a post: asked again when another ends, or at the deadline
    when_empty_ = std::move(callback);
    throw;
  }
}

// --- the budget of buffered bytes ----------------------------------------------------------------

std::size_t ConnectionGroup::most_read_at_once() const {
  return std::min<std::uint64_t>({io->receive_block.size(), limits.max_input, limits.high_water});
}

void ConnectionGroup::budget_spent() {
  ++starved;
  if (budget_timer_) return;
  WEIR_LOG_LIMITED(warn, 1,
                   "the budget of buffered bytes is spent ({} by these connections, {} in the "
                   "process): reading less",
                   budget.held(), buffered_bytes());
  read_at_once = std::min<std::uint64_t>(most_read_at_once(), BufferBudget::kOwnShare);
  budget_spent_since_ = loop.now();
  budget_retry_ = kBudgetRetry;
  budget_timer_ = loop.run_after(budget_retry_, [this] { look_at_budget(); });
}

void ConnectionGroup::look_at_budget() {
  budget_timer_ = {};
  bool waiting = false;
  const bool room = budget.has_room(1);
  budget_retry_ = room ? kBudgetRetry : std::min(2 * budget_retry_, kMaxBudgetRetry);
  if (room) budget_spent_since_ = loop.now();
  if (!room && loop.now() - budget_spent_since_ >= kBudgetPatience) give_one_up();
  for (TcpConnection& connection : connections_) {  // those that have ended are never starved
    if (!connection.is_.starved) continue;
    connection.heed_budget();
    connection.read_gate_changed();
    waiting |= connection.is_.starved;
  }
  if (waiting) {
    budget_timer_ = loop.run_after(budget_retry_, [this] { look_at_budget(); });
  } else {
    read_at_once = most_read_at_once();
  }
}

// Output is bounded by write_stall_timeout, but input that waits for the rest of a message, which
// is not read, could wait for ever.
void ConnectionGroup::give_one_up() {
  for (TcpConnection& connection : connections_) {
    if (!connection.is_.starved || !connection.input_) continue;
    connection.start_close({CloseReason::Kind::input_overflow, Errno(ENOMEM)});
    connection.input_.reset();
    connection.account();
    return;
  }
}

}  // namespace weir::internal
