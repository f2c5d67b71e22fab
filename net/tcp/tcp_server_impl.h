// TcpServer::Impl: what a server is made of. Internal to the tcp floor; starting stands in
// tcp_server.cc, ending in tcp_server_end.cc. [loop] of the server, unless marked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "weir/base/check.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/stream/callback_handler.h"
#include "weir/net/stream/internal/admission.h"
#include "weir/net/stream/internal/connection_group.h"
#include "weir/net/tcp/internal/acceptor.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir {

namespace internal {

// One loop's part of the server.
struct Shard : std::enable_shared_from_this<Shard> {
  explicit Shard(EventLoop& on) : loop(on) {}
  // Connections that it has or that are on their way to it. [any]
  std::size_t load() const {
    return group->open_now.value() + coming.load(std::memory_order_relaxed);
  }

  EventLoop& loop;
  // Made and used on the loop's thread; its counters are read from any. Null: the server is
  // destroyed.
  std::shared_ptr<ConnectionGroup> group;
  std::atomic<std::size_t> coming{0};
};

// A connection on its way to the loop of `to`. If it does not arrive (no memory for the task, the
// loop has ended, or the server was destroyed), it is closed and its places are given back.
class Arrival {
 public:
  Arrival(Shard& to, Fd fd, PeerPlace place, std::shared_ptr<OpenCount> open_count);
  Arrival(Arrival&& other) noexcept = default;
  Arrival& operator=(Arrival&&) = delete;
  ~Arrival();
  // On the loop of `to`.
  void adopt();

 private:
  const std::shared_ptr<Shard> to_;
  Fd fd_;
  PeerPlace place_;
  std::shared_ptr<OpenCount> open_count_;  // null: arrived, or moved from
};

// An acceptor and the loop it is on.
struct Listener {
  EventLoop& loop;
  bool handshakes;  // a connection takes a round trip to come into the queue, which ends with us
  std::shared_ptr<Acceptor> acceptor;
  std::weak_ptr<ListeningSocket> socket;  // the acceptor's, until it lets go
  SocketAddress address;                  // as bound
  bool closing = false;                   // by close_listener()

  // Several loops may watch one socket; their listeners follow one another.
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

// Held by the TcpServer, and for the length of a call by what it posted to its own loop.
class TcpServer::Impl : public std::enable_shared_from_this<TcpServer::Impl> {
 public:
  Impl(EventLoop& loop, Options options);

  Result<SocketAddress> listen(const SocketAddress& address);
  Result<std::vector<SocketAddress>> adopt(std::vector<ListeningSocket> sockets);
  Result<void> adopt(Fd connection);
  void set_accepting(bool on);
  Result<void> close_listener(const SocketAddress& address, std::move_only_function<void()> done);
  void for_each_connection(std::function<void(TcpConnection&)> fn,
                           std::move_only_function<void()> done);
  Result<std::vector<ListenerShare>> duplicate_listeners() const;
  void shutdown(const Ending& how, std::move_only_function<void()> done);
  void destroy();
  Stats stats() const;

  internal::CallbackHandler& callbacks() {
    loop_.check_thread("TcpServer::on_...");
    WEIR_CHECK(shards_.empty(), "TcpServer: handlers must be set before the first listen()");
    return *callbacks_;
  }

  EventLoop& loop_;
  std::shared_ptr<ConnectionHandler> handler_;
  std::function<std::shared_ptr<ConnectionHandler>(EventLoop&)> factory_;
  const std::shared_ptr<internal::OpenCount> open_count_ = std::make_shared<internal::OpenCount>();
  std::vector<std::shared_ptr<internal::Shard>> shards_;  // constant after the first listen()

 private:
  Result<void> start();
  void undo_start();
  void make_group(internal::Shard& shard);
  ListenOptions listen_options() const;
  Result<std::shared_ptr<ListeningSocket>> open_socket(const SocketAddress& address,
                                                       bool reuse_port);
  void add_listener(EventLoop& loop, std::shared_ptr<ListeningSocket> socket, bool exclusive,
                    internal::Shard* shard);
  void adopt_one(std::shared_ptr<ListeningSocket> socket, bool by_all_loops);
  void accepted(internal::Shard* shard, bool may_move, Fd fd);
  std::optional<internal::PeerPlace> admit(int fd);
  bool hand_over(internal::Shard& target, Fd fd, internal::PeerPlace place);
  internal::Shard& even_out(internal::Shard& wanted);
  struct ClosingListener;
  void stop_listener(std::shared_ptr<ClosingListener> closing);
  void listener_stopped(const std::shared_ptr<ClosingListener>& closing);
  void begin_shutdown();
  void stop_accepting();
  void acceptors_stopped();
  void begin_grace();
  void close_connections();
  void shard_stopped();
  void tell_done();
  void abort_connections();
  // Has `step` called in a task of the server's loop, unless the server is destroyed before.
  void post_home(void (Impl::*step)());

  const Options options_;
  bool backlog_warned_ = false;  // that the kernel cuts it
  const std::size_t connection_limit_;
  const std::shared_ptr<internal::PeerCounts> peers_;        // null: not counted
  const std::unique_ptr<internal::AcceptRate> accept_rate_;  // null: no bound
  const std::shared_ptr<internal::CallbackHandler> callbacks_ =
      std::make_shared<internal::CallbackHandler>();
  std::unique_ptr<LoopPool> own_pool_;
  LoopPool* pool_ = nullptr;            // that one, or one of the program's; null: all is on loop_
  mutable std::mutex listeners_mutex_;  // for stats(), while listen() adds one more
  std::vector<internal::Listener> listeners_;  // written on the server's loop only
  Stats closed_listeners_;                     // what they counted; with the mutex
  bool accepting_ = true;
  std::size_t next_shard_ = 0;
  std::atomic<std::uint64_t> adopted_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> refused_per_peer_{0};

  // Of a shutdown.
  enum class Phase {
    serving,
    last_handshakes,
    last_accepts,  // the acceptors of other loops take what is queued
    grace,
    stopping,
    stopped,
    destroyed
  };
  Phase phase_ = Phase::serving;
  std::size_t loops_accepting_ = 0;  // in last_accepts
  std::size_t shards_running_ = 0;
  TimePoint deadline_ = TimePoint::max();
  TimePoint close_at_ = TimePoint::max();  // end of the grace, at most deadline_
  bool leave_listeners_ = false;
  TimerId deadline_timer_;
  TimerId step_timer_;  // to the end of the last handshakes, then of the grace
  std::vector<std::move_only_function<void()>> done_;
};

}  // namespace weir
