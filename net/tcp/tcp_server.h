// TcpServer: listens on any number of addresses and serves the connections, on one loop or on
// several.
//
// The server belongs to the thread of the loop that it is constructed with. Its connections live on
// that loop, or, with threads > 0, on loops of its own. Set handlers before the first listen() or
// adopt().
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/metrics.h"
#include "weir/base/result.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/stream/transport.h"

namespace WEIR_EXPORT weir {

class LoopPool;

// How a server with threads distributes connections over its loops.
enum class AcceptMode : std::uint8_t {
  // The server's loop accepts and assigns connections to the loops in turn, or to the loop with the
  // fewest if the numbers are uneven (see `exclusive`). Each connection is posted to its loop once.
  single,
  // Each loop has a listening socket (SO_REUSEPORT). The kernel selects one by a hash of the
  // addresses, and the connection stays on that loop. With threads = 0 other processes and other
  // servers of this user can also listen on the address.
  reuse_port,
  // All loops watch one listening socket (EPOLLEXCLUSIVE). An idle loop accepts, and keeps the
  // connection unless it has over 8, and over 5 %, more connections than the loop with the fewest.
  exclusive,
};

class TcpServer {
 public:
  struct Options {
    // Number of loops that the server creates, each on a thread of its own. 0: everything runs on
    // the loop that the server was constructed with.
    std::size_t threads = 0;
    // In place of `threads`: uses the loops of this pool. Several servers may share a pool, which
    // must outlive them.
    LoopPool* pool = nullptr;
    AcceptMode accept = AcceptMode::single;
    Trigger trigger = Trigger::level;
    // Connections that may wait for accept. The kernel limits it to net.core.somaxconn; the first
    // listen() for which that is less logs a warning.
    int backlog = 4096;
    // Open connections on all loops together. Further ones are accepted and closed at once. At
    // most, and with 0: RLIMIT_NOFILE minus a reserve of 64 (or of a quarter, if that is less).
    std::size_t max_connections = 0;
    // Open connections from one IPv4 address or one IPv6 /64, on all loops together. Further ones
    // are accepted and closed at once. Unix peers are not counted. 0: no limit.
    std::size_t max_connections_per_peer = 0;
    // Connections accepted per second, by all loops and listeners together. A burst may have a
    // tenth of this number, at least one. The others wait in the backlog. 0: no limit.
    std::size_t max_accept_rate = 0;

    // Deadlines; zero: none. They are coarse: never early, and late by at most a fifteenth. The
    // three that limit the silence of the peer do not run while reading is paused, while it waits
    // for the budget, or while an answer is owed (hold_open), and restart afterwards.
    Duration idle_timeout{0};        // no byte in either direction
    Duration read_idle_timeout{0};   // no byte received; does not run over the high mark either
    Duration first_byte_timeout{0};  // no byte received since the accept
    // Runs from the moment at which a handler leaves bytes until a handler consumes any, and does
    // not run while nothing is read. If a handler consumes only whole messages, each message must
    // be complete within this time, however slowly its bytes arrive.
    Duration message_timeout{0};
    // Output is queued, and the kernel takes none of it.
    Duration write_stall_timeout = std::chrono::seconds(300);
    // on_heartbeat is called when nothing was sent for this time. Zero: never. As coarse as the
    // deadlines.
    Duration heartbeat_interval{0};

    // Limits of one connection, in bytes.
    std::uint64_t max_input = 1024 * 1024;       // input that the handler left; then it is closed
    std::uint64_t high_water = 1024 * 1024;      // queued output; then nothing more is read
    std::uint64_t max_output = 4 * 1024 * 1024;  // queued output; then `overflow` decides
    Overflow overflow = Overflow::close;
    // Bytes buffered by all connections of one loop together. buffer_budget.h explains which bytes
    // count, and has the limit of the whole process, which applies in any case. 0: only that one.
    std::uint64_t max_buffered_per_loop = 0;

    // Keeps a connection after the peer has half-closed, until close() or shutdown().
    bool allow_half_open = false;
    bool nodelay = true;      // TCP_NODELAY
    bool keep_alive = false;  // SO_KEEPALIVE, with the times of KeepAlive{}
    // The peer must acknowledge sent bytes within this time, or the connection ends with io_error
    // (ETIMEDOUT): TCP_USER_TIMEOUT, tcp(7), RFC 5482. In whole milliseconds. The kernel counts
    // from the first retransmission, which adds about 0.2 to 0.5 s. Zero: the kernel's default,
    // about 15 minutes.
    Duration user_timeout{0};
    // SO_RCVBUF, SO_SNDBUF and TCP_NOTSENT_LOWAT of connections over IP, in bytes; 0: the kernel's
    // default. By default the kernel takes several megabytes of output from a connection before
    // weir queues any. With send_buffer or notsent_lowat it takes less, so high_water and
    // SlowPolicy::latest_only detect a slow peer earlier.
    int receive_buffer = 0;
    int send_buffer = 0;
    int notsent_lowat = 0;

    // Makes the Transport of each connection, such as TLS; null: bytes go directly to the socket.
    // on_open is called after the handshake. Connections with a transport are level-triggered.
    std::shared_ptr<TransportFactory> transport{};
    Duration handshake_timeout = std::chrono::seconds(10);

    Duration linger_timeout = std::chrono::seconds(5);  // after our FIN, for the peer's FIN
    // For queued output after close(): the kernel must take some of it in each drain_timeout, and
    // all of it within drain_limit. Zero: no limit.
    Duration drain_timeout = std::chrono::seconds(30);
    Duration drain_limit = std::chrono::hours(1);
    // If false, "[::]" also accepts IPv4. To set it for one address only, call
    // listen(ListeningSocket::open(address, {.v6_only = true})).
    bool v6_only = false;
    unsigned unix_mode = 0600;  // permissions of the files of Unix paths
    EventLoop::Options loop{};  // of the loops that the server creates
  };

  // The queue of a listening socket in the kernel: connections that are complete and wait for
  // accept.
  struct AcceptQueue {
    SocketAddress address;
    std::uint32_t waiting = 0;  // now
    std::uint32_t limit = 0;    // the backlog, after the kernel's limit
    // The kernel admits one connection more than the limit, and then drops new ones.
    bool full() const { return waiting > limit; }
  };

  struct Stats {
    std::uint64_t connections = 0;         // open now
    std::uint64_t accepted = 0;            // or adopted, including those refused afterwards
    std::uint64_t refused = 0;             // over max_connections
    std::uint64_t refused_per_peer = 0;    // over max_connections_per_peer
    std::uint64_t shed = 0;                // closed right after the accept: no descriptor was left
    std::uint64_t accept_errors = 0;       // of single connections, such as ECONNABORTED
    std::uint64_t accept_back_offs = 0;    // pauses of a listener: descriptors, memory
    std::uint64_t accept_rate_pauses = 0;  // pauses of a listener because of max_accept_rate
    std::uint64_t buffered = 0;            // bytes, now
    std::uint64_t over_budget = 0;         // sends refused: the budget of buffered bytes is spent
    std::uint64_t starved = 0;             // times that the budget stopped reading a connection
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::array<std::uint64_t, CloseReason::kKinds> closed{};  // by CloseReason::Kind
    // Costs one system call for each listening socket. Unix sockets are not included, because no
    // socket option reports their queues (sock_diag(7) does: weir-sockstat).
    std::vector<AcceptQueue> accept_queues;
    // The difference of the counters. The gauges (connections, buffered, accept_queues) are copied
    // from `later`.
    friend Stats operator-(Stats later, const Stats& earlier) {
      return metrics_difference(std::move(later), earlier);
    }
    // The names of the metrics, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
    // Connections that ended for this reason.
    std::uint64_t closed_by(CloseReason::Kind kind) const {
      return closed[static_cast<std::size_t>(kind)];
    }
  };

  // How to shut down. Times count from the call of shutdown().
  struct Ending {
    // Connections still open at the deadline are reset.
    Duration deadline{0};
    // Existing connections are served normally for this time, at most until the deadline. Then they
    // are closed.
    Duration grace{0};
    // Another process accepts from duplicates of the listening sockets (duplicate_listeners). This
    // server stops accepting at once, and leaves the queued connections to that process.
    bool leave_listeners = false;
  };

  explicit TcpServer(EventLoop& loop) : TcpServer(loop, Options{}) {}
  TcpServer(EventLoop& loop, const Options& options);
  // On the loop's thread; also from inside a handler there. Connections that are still open are
  // reset without a call of on_close, and the `done` of a pending shutdown() is not called: for an
  // orderly end, wait for that `done` first. Waits until the server's own threads have ended.
  ~TcpServer();
  TcpServer(const TcpServer&) = delete;
  TcpServer& operator=(const TcpServer&) = delete;

  // Handlers: see ConnectionHandler for when each is called.
  void on_open(std::move_only_function<void(TcpConnection&)> fn);
  void on_data(std::move_only_function<void(TcpConnection&, Buffer&)> fn);
  void on_half_close(std::move_only_function<void(TcpConnection&)> fn);
  void on_blocked(std::move_only_function<void(TcpConnection&)> fn);
  void on_drained(std::move_only_function<void(TcpConnection&)> fn);
  void on_timeout(std::move_only_function<bool(TcpConnection&, CloseReason::Kind)> fn);
  void on_heartbeat(std::move_only_function<void(TcpConnection&)> fn);
  void on_close(std::move_only_function<void(TcpConnection&, CloseReason)> fn);
  // In place of the functions above: use_handler() sets one handler for all loops.
  // handlers_per_loop() sets a factory, which the first listen() or adopt() calls once for each
  // loop on the thread of that loop. An exception of the factory leaves that listen() or adopt().
  void use_handler(std::shared_ptr<ConnectionHandler> handler);
  void handlers_per_loop(std::function<std::shared_ptr<ConnectionHandler>(EventLoop&)> factory);
  // Sets a factory of one handler for each connection, which owns it (TcpConnection::set_handler).
  // The factory is called just before on_open, on the loop of the connection; with several loops,
  // concurrently. An exception of the factory ends that connection with handler_threw; a null
  // result is a bug of the caller (CHECK). listen() does not compare these handlers with max_input:
  // a connection whose handler needs more logs a warning.
  void handlers_per_connection(
      std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory);

  // Starts to accept on one more address; returns the bound address, with the port that the kernel
  // chose. All forms of listen(), and adopt(), also return an error when the handler waits for
  // messages longer than max_input, or after shutdown().
  [[nodiscard]] Result<SocketAddress> listen(std::string_view address);
  [[nodiscard]] Result<SocketAddress> listen(const SocketAddress& address);

  // Accepts from sockets that already listen: inherited (take_inherited_sockets) or handed over
  // (HandOver). Returns their addresses, each once. With AcceptMode::reuse_port the sockets of an
  // address are distributed over the loops if there are at least as many as loops; otherwise all
  // loops watch each of them, as with `exclusive`.
  [[nodiscard]] Result<std::vector<SocketAddress>> listen(std::vector<ListeningSocket> sockets);
  [[nodiscard]] Result<SocketAddress> listen(ListeningSocket socket);
  // Serves a connected stream socket from elsewhere as if it had been accepted: one end of a
  // socketpair(2), descriptor 0 from inetd, a socket from another process. Counted and limited like
  // accepted connections. Returns an error if it is not a connected stream socket, or if a limit is
  // reached. on_open is called later, on the loop that serves it. Works without listen(). [loop]
  [[nodiscard]] Result<void> adopt(Fd connection);

  // While paused, new connections stay in the backlog. Not counted: one resume ends any number of
  // pauses. A pause also applies to addresses that listen() adds during it. With threads it takes
  // effect on each loop in that loop's next turn. A shutdown() accepts the waiting connections.
  // [loop]
  void pause_accepting();
  void resume_accepting();
  // Stops listening on one bound address, in the same way as shutdown(): gives handshakes in
  // progress 50 ms to complete, accepts the queued connections, closes the socket, then calls
  // `done` on this loop. The address is free at that time. Connections stay open. Returns an error
  // when the server does not listen on the address. [loop]
  [[nodiscard]] Result<void> close_listener(const SocketAddress& address,
                                            std::move_only_function<void()> done = {});

  // Another descriptor of each listening socket, for a successor process. An error after
  // shutdown(). [loop]
  [[nodiscard]] Result<std::vector<ListenerShare>> duplicate_listeners() const;

  // Rejects new connections, gives handshakes in progress 50 ms to complete (unless the deadline is
  // earlier), serves the requests that have arrived, closes every connection in order, resets those
  // that are still open at the deadline, then calls `done` on the server's loop. A further call may
  // bring the deadline and the end of the grace forward, and adds its `done`. The server may be
  // destroyed in `done`. [any]
  void shutdown(Duration deadline, std::move_only_function<void()> done);
  void shutdown(const Ending& how, std::move_only_function<void()> done);

  // Calls `fn` with every connection that has not ended, in a task on each loop (concurrently if
  // there are several), then `done` on the server's loop. Connections that begin during this may be
  // skipped. An exception from `fn` ends the connection that it was called with. [any], after the
  // first listen()
  void for_each_connection(std::function<void(TcpConnection&)> fn,
                           std::move_only_function<void()> done = {});

  std::size_t connection_count() const;  // [any]
  Stats stats() const;                   // [any], after the first listen()
  // The loops on which the connections live. [any], after the first listen()
  std::size_t loop_count() const;
  EventLoop& loop(std::size_t index) const;

 private:
  class WEIR_HIDDEN Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir
