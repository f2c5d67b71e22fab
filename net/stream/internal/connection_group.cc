#include "weir/net/stream/internal/connection_group.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

#include "weir/base/call_all.h"
#include "weir/base/check.h"
#include "weir/base/log_line.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_inline.h"

namespace weir::internal {

ConnectionGroup::ConnectionGroup(EventLoop& on, const ConnectionLimits& with,
                                 std::shared_ptr<ConnectionHandler> with_handler,
                                 std::shared_ptr<OpenCount> open_count,
                                 std::shared_ptr<TransportFactory> transports)
    : loop(on),
      limits(with),
      trigger(transports ? Trigger::level : with.trigger),
      handler(std::move(with_handler)),
      io(&on.local<LoopIo>()),
      gather_at_once(std::min<std::uint64_t>(LoopIo::kGatherBlock, with.high_water - 1)),
      holders(*this),
      budget(with.max_buffered, core_of(on).mailbox(), &holders.owner()),
      open_count_(std::move(open_count)),
      transports_(std::move(transports)) {
  limit_reads(false);
}

ConnectionGroup::~ConnectionGroup() {
  WEIR_CHECK(connections_.empty(), "a group of connections destroyed before its connections");
}

void ConnectionGroup::adopt(Fd fd, Seat seat) {
  Connection* const connection = make(std::move(fd), std::move(seat));
  if (connection == nullptr) {
    WEIR_LOG_LIMITED(error, 1, "no memory for a connection: it is closed");
    return;
  }
  connections_.push_back(*connection);
  ++open_now;
  ++opened;
  if (observer_ != nullptr) observer_->on_adopted(*connection);
  connection->open();
}

// Allocates all memory that a connection needs until on_open, so that an observer which is notified
// of the connection is also notified of its end. nullptr: there is not enough memory.
Connection* ConnectionGroup::make(Fd fd, Seat seat) {
  Connection* connection = nullptr;
  try {
    connection = new Connection(*this, std::move(fd));  // frees itself in on_reap()
    PeerPlace* const kept = seat.has_place() ? &places_[connection] : nullptr;
    PeerPlace place = seat.settle();
    if (kept != nullptr) *kept = std::move(place);
    return connection;
  } catch (const std::bad_alloc&) {
    delete connection;
    return nullptr;
  }
}

void ConnectionGroup::stop_gracefully() {
  for (Connection& connection : connections_) connection.stop_gracefully();
}

void ConnectionGroup::abort_all() {
  for (Connection& connection : connections_) {
    connection.reset({CloseReason::Kind::server_stopped, {}});
  }
  for (Pump* pump : pumps) pump->cancel();
  notify_if_empty();
}

// Connections leave the list only in the reap phase, and are added at its end.
void ConnectionGroup::for_each(const std::function<void(TcpConnection&)>& fn) {
  for (Connection& connection : connections_) {
    if (connection.state() == TcpConnection::State::opening) continue;  // not reported yet
    static_cast<void>(connection.ref().post([&fn](TcpConnection& open) { fn(open); }));
  }
}

void ConnectionGroup::orphan_all() {
  for (Pump* pump : std::exchange(pumps, {})) pump->forget(*this);
  for (Connection& connection : connections_) {
    connection.forget_handler();
    connection.reset({CloseReason::Kind::server_stopped, {}});
  }
}

void ConnectionGroup::observe(TcpConnection& connection,
                              std::shared_ptr<ConnectionObserver> observer) {
  Connection& machine = machine_of(connection);
  machine.group().io->observers.emplace(&machine, std::move(observer));
  machine.set_observed(true);
}

void ConnectionGroup::end_observation(TcpConnection& connection,
                                      const ConnectionObserver* observer) {
  Connection& machine = machine_of(connection);
  LoopIo::Observers& observers = machine.group().io->observers;
  const auto [begin, end] = observers.equal_range(&machine);
  const auto found =
      std::find_if(begin, end, [&](const auto& entry) { return entry.second.get() == observer; });
  if (found == end) return;
  machine.set_observed(std::distance(begin, end) > 1);
  observers.erase(found);
}

void ConnectionGroup::when_empty(std::move_only_function<void()> callback) {
  when_empty_ = std::move(callback);
  notify_if_empty();
}

std::unique_ptr<Transport> ConnectionGroup::make_transport() const {
  return transports_ ? transports_->make(loop) : nullptr;
}

void ConnectionGroup::notify_opened(Connection& connection) {
  if (observer_ != nullptr) observer_->on_opened(connection);
}

void ConnectionGroup::notify_ended(Connection& connection) {
  if (observer_ != nullptr) observer_->on_ended(connection, connection.reason());
}

void ConnectionGroup::notify_observers_drained(Connection& connection) {
  const auto [begin, end] = io->observers.equal_range(&connection);
  for (auto entry = begin; entry != end; ++entry) entry->second->on_drained(connection);
}

void ConnectionGroup::notify_observers_ended(Connection& connection) {
  LoopIo::Observers& observers = io->observers;
  CallAll all;
  const auto next = [&] { return observers.extract(&connection); };
  for (auto entry = next(); !entry.empty(); entry = next()) {
    all([&] { entry.mapped()->on_ended(connection, connection.reason()); });
  }
  all.rethrow_first();
}

void ConnectionGroup::remove(Connection& connection) {
  connection.ListHook<GroupTag>::unlink();
  if (!places_.empty()) places_.erase(&connection);
  open_now.set(open_now.value() - 1);
  if (open_count_) open_count_->leave();
}

void ConnectionGroup::leave(Pump& pump) {
  pumps.erase(&pump);
  notify_if_empty();
}

void ConnectionGroup::notify_if_empty() {
  if (!empty() || !when_empty_) return;
  auto callback = std::exchange(when_empty_, nullptr);
  try {
    callback();
  } catch (...) {  // no memory for a post: the next call repeats it, at the latest at the deadline
    when_empty_ = std::move(callback);
    throw;
  }
}

void ConnectionGroup::limit_reads(bool on) {
  read_at_once =
      std::min<std::uint64_t>({io->receive_block.size(), limits.max_input, limits.high_water,
                               on ? BufferBudget::kOwnShare : io->receive_block.size()});
}

}  // namespace weir::internal
