// TcpServer::Impl: the implementation of TcpServer. Starting is in tcp_server.cc, the listeners in
// tcp_server_listen.cc, the path of a connection to its loop in tcp_server_admit.cc, ending in
// tcp_server_end.cc. Internal to the tcp floor. [home], the server's loop, unless marked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "weir/base/check.h"
#include "weir/base/mutex.h"
#include "weir/base/token_bucket.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/shards.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/stream/callback_handler.h"
#include "weir/net/stream/internal/admission.h"
#include "weir/net/stream/internal/connection_group.h"
#include "weir/net/tcp/internal/acceptor.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir {

namespace internal {

// The part of the server on one loop.
struct TcpShard : Shard, std::enable_shared_from_this<TcpShard> {
  using Shard::Shard;
  // Connections on this loop, plus those that are being handed over to it. [any]
  std::size_t load() const {
    return group->open_now.value() + arriving.load(std::memory_order_relaxed);
  }
  void release();

  // Created and used on the loop's thread; its counters are read from any. Null: released.
  std::shared_ptr<ConnectionGroup> group;
  std::atomic<std::size_t> arriving{0};  // connections that are being handed over
};

// A connection that is being handed over to the loop of `to`. If it does not arrive (no memory for
// the task, the loop has ended, or the server was destroyed), it is closed and no longer counted.
class Arrival {
 public:
  Arrival(TcpShard& to, Fd fd, Seat seat);
  Arrival(Arrival&& other) noexcept = default;
  Arrival& operator=(Arrival&&) = delete;
  ~Arrival();
  void adopt();  // [loop of `to`]

 private:
  std::shared_ptr<TcpShard> to_;  // null: moved from
  Fd fd_;
  Seat seat_;
};

// An acceptor and its loop.
struct Listener {
  EventLoop& loop;
  bool handshakes;  // IP and not lent: the end of this socket would reset handshakes in progress
  std::shared_ptr<Acceptor> acceptor;
  std::weak_ptr<ListeningSocket> socket;  // of the acceptor, until that releases it
  SocketAddress address;                  // as bound
  bool closing = false;                   // by close_listener()

  // Several loops may watch one socket. Their listeners are adjacent in the list.
  bool same_socket(const Listener& other) const {
    return !socket.owner_before(other.socket) && !other.socket.owner_before(socket);
  }
  void add_counters(TcpServer::Stats& sum) const {
    const Acceptor::Counters& counters = acceptor->counters();
    sum.accepted += counters.accepted.value();
    sum.shed += counters.shed.value();
    sum.accept_errors += counters.errors.value();
    sum.accept_back_offs += counters.back_offs.value();
    sum.accept_rate_pauses += counters.rate_pauses.value();
  }
};

}  // namespace internal

// Outlives the TcpServer until the end of the turn, because one of its functions may be running.
class TcpServer::Impl : public internal::Kept {
 public:
  Impl(EventLoop& loop, const Options& options);

  Result<SocketAddress> listen(const SocketAddress& address);
  Result<std::vector<SocketAddress>> adopt(std::vector<ListeningSocket> sockets);
  Result<void> adopt(Fd connection);
  void set_accepting(bool on);
  Result<void> close_listener(const SocketAddress& address, std::move_only_function<void()> done);
  void for_each_connection(std::function<void(TcpConnection&)> fn,
                           std::move_only_function<void()> done);
  Result<std::vector<ListenerShare>> duplicate_listeners() const;
  void shutdown(const Ending& how, std::move_only_function<void()> done);
  // For destroy_server().
  void cancel_timers();
  void release();
  Stats stats() const;

  internal::CallbackHandler& callbacks() {
    internal::core_of(loop_).check_thread("TcpServer::on_...");
    WEIR_CHECK(!shards_.started(), "TcpServer: handlers must be set before the first listen()");
    return *callbacks_;
  }

  EventLoop& loop_;
  std::shared_ptr<ConnectionHandler> handler_;
  std::function<std::shared_ptr<ConnectionHandler>(EventLoop&)> factory_;
  const std::shared_ptr<internal::OpenCount> open_count_ = std::make_shared<internal::OpenCount>();
  internal::Shards<internal::TcpShard> shards_;

 private:
  // The time that a shutdown gives to handshakes in progress: a round trip within a region. Without
  // it the kernel would reset those whose last ACK arrives after the listener was closed.
  static constexpr Duration kLastHandshakes = std::chrono::milliseconds(50);
  // After the deadline of a shutdown, the time to its next attempt.
  static constexpr Duration kDeadlineRetry = std::chrono::milliseconds(100);

  Result<void> start();
  Result<void> make_group(internal::TcpShard& shard);
  ListenOptions listen_options() const;
  Result<std::shared_ptr<ListeningSocket>> open_socket(const SocketAddress& address,
                                                       bool reuse_port);
  void add_listener(EventLoop& loop, std::shared_ptr<ListeningSocket> socket, bool exclusive,
                    internal::TcpShard* shard);
  void adopt_one(std::shared_ptr<ListeningSocket> socket, bool by_all_loops);
  void accepted(internal::TcpShard* shard, bool may_move, Fd fd);
  std::optional<internal::Seat> admit(int fd);
  bool hand_over(internal::TcpShard& target, Fd fd, internal::Seat seat);
  internal::TcpShard& even_out(internal::TcpShard& wanted);
  struct ClosingListener;
  void stop_listener(std::shared_ptr<ClosingListener> closing);
  void listener_stopped(const std::shared_ptr<ClosingListener>& closing);
  void begin_shutdown();
  void stop_accepting();
  void begin_grace();
  void wait_for_groups();
  void close_connections();
  void at_deadline();
  void abort_connections();
  void stopped();

  const Options options_;
  bool backlog_warned_ = false;  // a warning about somaxconn was logged
  const std::size_t connection_limit_;
  const std::shared_ptr<internal::PeerCounts> peers_;         // null: no limit
  const std::unique_ptr<internal::TokenBucket> accept_rate_;  // null: no limit
  const std::shared_ptr<internal::CallbackHandler> callbacks_ =
      std::make_shared<internal::CallbackHandler>();
  mutable internal::Mutex listeners_mutex_;    // stats() may run while listen() adds a listener
  std::vector<internal::Listener> listeners_;  // written on the server's loop only, with the mutex
  Stats closed_listeners_;                     // the sum of their counters; with the mutex
  bool accepting_ = true;
  std::size_t next_shard_ = 0;
  std::atomic<std::uint64_t> adopted_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> refused_per_peer_{0};

  // The phases of a shutdown.
  enum class Phase {
    serving,
    last_handshakes,
    last_accepts,  // the acceptors accept the queued connections
    grace,
    stopping,
    stopped
  };
  Phase phase_ = Phase::serving;
  TimePoint deadline_ = TimePoint::max();
  TimePoint close_at_ = TimePoint::max();  // end of the grace, at most deadline_
  bool leave_listeners_ = false;
  bool groups_asked_ = false;  // each group reports when it is empty
  TimerId deadline_timer_;
  TimerId step_timer_;  // the end of the last handshakes, then the end of the grace
};

}  // namespace weir
