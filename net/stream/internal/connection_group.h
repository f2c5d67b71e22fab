// ConnectionGroup: the connections of one server (or client) on one loop, with their common limits,
// handler and counters. Internal. [loop] unless marked.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "weir/base/counter.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/loop_client.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/admission.h"
#include "weir/net/stream/internal/budget_holders.h"
#include "weir/net/stream/internal/buffer_budget.h"
#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/loop_buffers.h"
#include "weir/net/stream/transport.h"

namespace weir::internal {

class Pump;

// Bounds of one connection; times in ticks of the loop's wheel, 0: off.
struct ConnectionLimits {
  Trigger trigger = Trigger::level;
  Overflow overflow = Overflow::close;
  bool allow_half_open = false;
  std::uint64_t high_water = 0;  // 1 <= high_water <= max_output
  std::uint64_t max_output = 0;
  std::uint64_t max_input = 0;
  Tick idle = 0;
  Tick read_idle = 0;
  Tick heartbeat = 0;
  Tick first_byte = 0;
  Tick message = 0;
  Tick write_stall = 0;
  Tick linger = 0;
  Tick drain = 0;
  Tick drain_limit = 0;
  Tick handshake = 0;
  std::uint64_t max_buffered = 0;  // by all connections of a group; 0: off
};

class ConnectionGroup : public Kept {
 public:
  ConnectionGroup(EventLoop& loop, const ConnectionLimits& limits,
                  std::shared_ptr<ConnectionHandler> handler, std::shared_ptr<OpenCount> open_count,
                  std::shared_ptr<TransportFactory> transports = nullptr);
  // All connections must have been freed (CHECK).
  ~ConnectionGroup();
  ConnectionGroup(const ConnectionGroup&) = delete;
  ConnectionGroup& operator=(const ConnectionGroup&) = delete;

  // Takes over a connected socket and calls on_open.
  void adopt(Fd fd, Seat seat = {});
  // nullptr: the plain socket.
  std::unique_ptr<Transport> make_transport() const;
  // Closes each connection when its arrived input was served.
  void stop_gracefully();
  // Resets all connections.
  void abort_all();
  // Calls `fn` with each connection between on_open and its end. An exception of `fn` ends that
  // one.
  void for_each(const std::function<void(TcpConnection&)>& fn);
  // The owner is being destroyed: resets all connections without another call of its handler.
  void orphan_all();

  // Notifies `observer` of events of one connection until that ends, or until end_observation().
  static void observe(TcpConnection& connection, std::shared_ptr<ConnectionObserver> observer);
  static void end_observation(TcpConnection& connection, const ConnectionObserver* observer);

  // Notified of events of all connections. nullptr, the default: no observer.
  void set_observer(ConnectionObserver* observer) { observer_ = observer; }

  bool empty() const { return connections_.empty() && pumps.empty(); }
  // Calls `callback` once: now if the group is empty, else when it has become empty.
  void when_empty(std::move_only_function<void()> callback);

  // Pumps that move bytes of connections of this group and have not ended. The group is not empty
  // before they have, so that a server that ends waits until their other side has sent its bytes.
  std::unordered_set<Pump*> pumps;
  void leave(Pump& pump);

  // Constant after construction.
  EventLoop& loop;
  const ConnectionLimits limits;
  // Level-triggered with transports: a transport may wait for another readiness than that of the
  // last call on the socket.
  const Trigger trigger;
  const std::shared_ptr<ConnectionHandler> handler;
  LoopIo* const io;
  // The bytes that a connection with nothing buffered may gather without other checks.
  const std::size_t gather_at_once;

  // The bytes that a connection with nothing buffered may read at once.
  std::size_t read_at_once = 0;
  BudgetHolders holders;
  BufferBudget budget;
  // While true, connections read at most BufferBudget::kOwnShare at once.
  void limit_reads(bool on);

  // Written on the loop. [any]
  Counter open_now;  // connections
  Counter opened;
  Counter bytes_in;
  Counter bytes_out;
  Counter over_budget;  // sends that found the budget spent
  Counter starved;      // times that a connection was not read any more because of that
  std::array<Counter, CloseReason::kKinds> closed;

 private:
  friend class Connection;
  Connection* make(Fd fd, Seat seat);
  void notify_opened(Connection& connection);
  void notify_ended(Connection& connection);
  // These call the observers that observe() added for this connection.
  void notify_observers_drained(Connection& connection);
  void notify_observers_ended(Connection& connection);
  void remove(Connection& connection);
  void notify_if_empty();

  IntrusiveList<Connection, GroupTag> connections_;
  std::unordered_map<const Connection*, PeerPlace> places_;  // of connections with counted peers
  const std::shared_ptr<OpenCount> open_count_;              // nullptr: not counted
  const std::shared_ptr<TransportFactory> transports_;       // nullptr: plain sockets
  std::move_only_function<void()> when_empty_;
  ConnectionObserver* observer_ = nullptr;
};

}  // namespace weir::internal
