// ConnectionGroup: the connections that one server (or client) has on one loop, with what they
// share: limits, handler, counters. Internal to the tcp floor. [loop] unless marked.
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

class ConnectionGroup {
 public:
  ConnectionGroup(EventLoop& loop, const ConnectionLimits& limits,
                  std::shared_ptr<ConnectionHandler> handler, std::shared_ptr<OpenCount> open_count,
                  std::shared_ptr<TransportFactory> transports = nullptr);
  // All connections are gone by then.
  ~ConnectionGroup();
  ConnectionGroup(const ConnectionGroup&) = delete;
  ConnectionGroup& operator=(const ConnectionGroup&) = delete;

  // Takes over a connected socket and calls on_open.
  void adopt(Fd fd, Seat seat = {});
  // Null: the plain socket.
  std::unique_ptr<Transport> make_transport() const;
  // Closes all when what has arrived was served.
  void stop_gracefully();
  // Resets all.
  void abort_all();
  // Those that have not ended. What `fn` throws ends the connection that it was called with.
  void for_each(const std::function<void(TcpConnection&)>& fn);
  // The owner is going: resets all, without any further call of its handler.
  void orphan_all();

  // Has `observer` notified of one connection until that ends or the observation does.
  static void observe(TcpConnection& connection, std::shared_ptr<ConnectionObserver> observer);
  static void end_observation(TcpConnection& connection, const ConnectionObserver* observer);

  // Notified of all connections. Null: nobody, as in the beginning.
  void set_observer(ConnectionObserver* observer) { observer_ = observer; }

  bool empty() const { return connections_.empty() && pumps.empty(); }
  // Called once, from the reap phase, when (or as soon as) the group is empty.
  void when_empty(std::move_only_function<void()> callback);

  // Those that move bytes of connections here and are not over: the group is not empty before, so
  // that the end of a server leaves time for what their other side has still to send.
  std::unordered_set<Pump*> pumps;
  void leave(Pump& pump);

  // Constant after construction.
  EventLoop& loop;
  const ConnectionLimits limits;
  // Level with transports: what they wait for is not always what the socket was last tried for.
  const Trigger trigger;
  const std::shared_ptr<ConnectionHandler> handler;
  LoopIo* const io;
  // What a connection with nothing buffered may gather unasked.
  const std::size_t gather_at_once;

  // What a connection with nothing buffered may read at once.
  std::size_t read_at_once = 0;
  BudgetHolders holders;
  BufferBudget budget;
  // Has connections read little at once from now on, or as much as they can.
  void restrain_reads(bool on);

  // Written on the loop. [any]
  Counter open_now;  // connections
  Counter opened;
  Counter bytes_in;
  Counter bytes_out;
  Counter over_budget;  // sends that met the spent budget
  Counter starved;      // times that a connection stopped being read for it
  std::array<Counter, CloseReason::kKinds> closed;

 private:
  friend class Connection;
  Connection* make(Fd fd, Seat seat);
  void notify_opened(Connection& connection);
  void notify_ended(Connection& connection);
  // Of those that observe() added for this connection.
  void notify_observers_drained(Connection& connection);
  void notify_observers_ended(Connection& connection);
  void remove(Connection& connection);
  void notify_if_empty();

  IntrusiveList<Connection, GroupTag> connections_;
  std::unordered_map<const Connection*, PeerPlace> places_;  // of those whose peers are counted
  const std::shared_ptr<OpenCount> open_count_;              // null: not counted
  const std::shared_ptr<TransportFactory> transports_;       // null: plain sockets
  std::move_only_function<void()> when_empty_;
  ConnectionObserver* observer_ = nullptr;
};

}  // namespace weir::internal
