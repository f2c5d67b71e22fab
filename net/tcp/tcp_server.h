// TcpServer: listens on any number of addresses and serves what connects, on one loop or on
// several.
//
// The server belongs to the thread of the loop it is made with. Its connections live on that loop,
// or, with threads > 0, on loops of its own. Handlers are set before the first listen().
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
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

// How connections come to the loops of a server with threads.
enum class AcceptMode : std::uint8_t {
  // The server's loop accepts and hands them out in turn, or to the loop that has the fewest if the
  // numbers are uneven: one hop more.
  single,
  // A listening socket for each loop (SO_REUSEPORT): the kernel spreads by hash; no hop. With
  // threads = 0 other processes and other servers of this user can listen on the address too.
  reuse_port,
  // One listening socket watched by all loops (EPOLLEXCLUSIVE): an idle loop accepts, and keeps the
  // connection unless it has many more than another loop (8, or 5 %, whichever is more).
  exclusive,
};

class TcpServer {
 public:
  struct Options {
    // Loops of the server's own; 0: all on the loop it was made with.
    std::size_t threads = 0;
    // Instead: the loops of this pool, which other servers may use too and which outlives this one.
    LoopPool* pool = nullptr;
    AcceptMode accept = AcceptMode::single;
    Trigger trigger = Trigger::level;
    // Connections that may wait for accept. The kernel cuts it to net.core.somaxconn, of which the
    // first listen() that meets it warns.
    int backlog = 4096;
    // Over all loops; those beyond are closed at once. 0, or more than RLIMIT_NOFILE leaves after a
    // reserve of 64 (a quarter, if that is less): as many as that.
    std::size_t max_connections = 0;
    // From one IPv4 address or one IPv6 /64, over all loops; those beyond are closed at once. Unix
    // peers are not counted. 0: off.
    std::size_t max_connections_per_peer = 0;
    // Accepted a second, over all loops and listeners; at most a tenth of that, or one, at once.
    // The others wait in the backlog. 0: off.
    std::size_t max_accept_rate = 0;

    // Deadlines; zero: none. They are coarse: never early, late by at most a fifteenth.
    // Those of what the peer is to do rest while reading is paused or an answer is owed
    // (hold_open), and start anew after it.
    Duration idle_timeout{0};        // no byte either way
    Duration read_idle_timeout{0};   // no byte came, whatever is sent; rests over the high mark too
    Duration first_byte_timeout{0};  // no byte since it was accepted
    // From the moment at which a handler leaves bytes until one consumes any. A handler that
    // consumes whole messages only has each of them complete by then, however slowly bytes trickle.
    Duration message_timeout{0};
    Duration write_stall_timeout = std::chrono::seconds(300);  // output waits, the peer takes none
    // Nothing was sent for so long: on_heartbeat is called. Zero: never. Coarse as the deadlines.
    Duration heartbeat_interval{0};

    // Bounds of one connection, in bytes.
    std::uint64_t max_input = 1024 * 1024;   // left unconsumed by the handler; then it is closed
    std::uint64_t high_water = 1024 * 1024;  // output waiting; then nothing more is read from it
    std::uint64_t max_output = 4 * 1024 * 1024;  // output waiting; then `overflow` decides
    Overflow overflow = Overflow::close;
    // Bytes buffered by all connections of one loop together; see buffer_budget.h for what counts,
    // and for the bound of the whole process. 0: only that.
    std::uint64_t max_buffered_per_loop = 0;

    // Keep a connection whose peer has half-closed, until close() or shutdown().
    bool allow_half_open = false;
    bool nodelay = true;      // TCP_NODELAY
    bool keep_alive = false;  // SO_KEEPALIVE, by KeepAlive's defaults
    // What is sent must be acknowledged within this, or the connection ends with io_error
    // (ETIMEDOUT): TCP_USER_TIMEOUT, tcp(7), RFC 5482. Whole milliseconds, counted by the kernel
    // from the first repetition, so some 0.2 to 0.5 s are added. Zero: the kernel's, some 15
    // minutes.
    Duration user_timeout{0};
    // SO_RCVBUF, SO_SNDBUF and TCP_NOTSENT_LOWAT of connections over IP, in bytes; 0: the kernel's.
    // The kernel keeps up to some megabytes of output for a connection before weir queues any. With
    // send_buffer or notsent_lowat it takes less, so high_water and SlowPolicy::latest_only see
    // earlier that a peer is slow.
    int receive_buffer = 0;
    int send_buffer = 0;
    int notsent_lowat = 0;

    // How bytes get to the peer and back; null: by the plain socket. on_open comes after its
    // handshake. Connections that have one are level-triggered.
    std::shared_ptr<TransportFactory> transport{};
    Duration handshake_timeout = std::chrono::seconds(10);

    Duration linger_timeout = std::chrono::seconds(5);  // for the peer's FIN after ours
    // For queued output after close(): since the peer took some of it, and in all. Zero for the
    // latter: no bound.
    Duration drain_timeout = std::chrono::seconds(30);
    Duration drain_limit = std::chrono::hours(1);
    // "[::]" takes IPv4 too unless set. For one address alone:
    // listen(ListeningSocket::open(address, {.v6_only = true})).
    bool v6_only = false;
    unsigned unix_mode = 0600;  // permissions of Unix paths
    EventLoop::Options loop{};  // of the server's own loops
  };

  // A listening socket's queue in the kernel: connections that are complete and wait for accept.
  struct AcceptQueue {
    SocketAddress address;
    std::uint32_t waiting = 0;  // now
    std::uint32_t limit = 0;    // the backlog, as the kernel cut it
    // The kernel lets one more in than the limit and drops who comes then.
    bool full() const { return waiting > limit; }
  };

  struct Stats {
    std::uint64_t connections = 0;       // open now
    std::uint64_t accepted = 0;          // or adopted; those refused with them
    std::uint64_t refused = 0;           // over max_connections
    std::uint64_t refused_per_peer = 0;  // over max_connections_per_peer
    std::uint64_t shed = 0;              // closed unseen for want of descriptors
    std::uint64_t accept_errors = 0;
    std::uint64_t accept_back_offs = 0;
    std::uint64_t accept_rate_pauses = 0;  // of a listener, because of max_accept_rate
    std::uint64_t buffered = 0;            // bytes, now
    std::uint64_t over_budget = 0;         // sends that met a spent budget of buffered bytes
    std::uint64_t starved = 0;             // times that a connection was not read on because of it
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::array<std::uint64_t, CloseReason::kKinds> closed{};  // by CloseReason::Kind
    // A system call for each listening socket. Unix sockets are not among them: no socket option
    // tells of their queues (sock_diag(7) does: weir-sockstat).
    std::vector<AcceptQueue> accept_queues;
    // The difference of the counters. The values of the moment (connections, buffered,
    // accept_queues) are those of `later`.
    friend Stats operator-(Stats later, const Stats& earlier);
    // Their names, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
    // Connections that ended for that reason.
    std::uint64_t closed_by(CloseReason::Kind kind) const {
      return closed[static_cast<std::size_t>(kind)];
    }
  };

  // How to end; times from now on.
  struct Ending {
    // Who is still there then is reset.
    Duration deadline{0};
    // Connections go on as before for so long, unless they end by themselves; then they are closed.
    // Cut to the deadline.
    Duration grace{0};
    // Another process accepts from duplicates of the listening sockets (duplicate_listeners): this
    // one stops at once, and what waits to be accepted is left to it.
    bool leave_listeners = false;
  };

  explicit TcpServer(EventLoop& loop) : TcpServer(loop, Options{}) {}
  TcpServer(EventLoop& loop, Options options);
  // On the loop's thread; also from inside a handler there. Connections still open are reset
  // without a call of on_close, and the `done` of a shutdown() under way is not called; for an
  // orderly end wait for it. Waits for the server's own threads.
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
  // Instead of the functions above: one handler for all loops, or one made for each on its thread
  // by the first listen(). What the factory throws comes out of that listen().
  void use_handler(std::shared_ptr<ConnectionHandler> handler);
  void handlers_per_loop(std::function<std::shared_ptr<ConnectionHandler>(EventLoop&)> factory);
  // Or one for each connection, which owns it (TcpConnection::set_handler). `factory` is called
  // just before its on_open, on the connection's loop, so with threads from several at once. What
  // it throws ends that connection with handler_threw.
  void handlers_per_connection(
      std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory);

  // Starts to accept on one more address; returns the address bound, with the port the kernel
  // chose. An error of all of these, and of adopt(): the handler waits for messages longer than
  // max_input.
  [[nodiscard]] Result<SocketAddress> listen(std::string_view address);
  [[nodiscard]] Result<SocketAddress> listen(const SocketAddress& address);

  // Accepts from sockets that listen already: inherited (take_inherited_sockets) or handed over
  // (HandOver). Returns their addresses, each once. With AcceptMode::reuse_port an address with as
  // many sockets as loops or more is spread over the loops; otherwise all loops watch its sockets,
  // as with exclusive.
  [[nodiscard]] Result<std::vector<SocketAddress>> listen(std::vector<ListeningSocket> sockets);
  [[nodiscard]] Result<SocketAddress> listen(ListeningSocket socket);
  // Serves a connected stream socket that comes from elsewhere, as if it had been accepted: a pair
  // of socketpair(2), the descriptor 0 that inetd gives, one that another process sent. Counted and
  // bounded like accepted ones; an error when it is none, or one too many. on_open is called later,
  // on the loop that gets it. Needs no listen(). [loop]
  [[nodiscard]] Result<void> adopt(Fd connection);

  // Leaves those who connect in the backlog, and takes them again. Not counted: one resume ends any
  // number of pauses. For addresses that are listened on meanwhile too. With threads it takes until
  // each loop has come around; a shutdown() accepts what waits. [loop]
  void pause_accepting();
  void resume_accepting();
  // Ends listening on one address, as bound, as a shutdown does: lets handshakes under way come to
  // an end (50 ms), accepts what is queued, closes, then calls `done` on this loop. By then the
  // address is free. Connections go on. An error when the server does not listen there. [loop]
  [[nodiscard]] Result<void> close_listener(const SocketAddress& address,
                                            std::move_only_function<void()> done = {});

  // One more descriptor of every listening socket, for a successor. [loop]
  [[nodiscard]] Result<std::vector<ListenerShare>> duplicate_listeners() const;

  // Lets no new connection begin, gives those that are being made 50 ms to come to an end (unless
  // the deadline is shorter), serves what has arrived, closes every connection in order, resets at
  // `deadline` those that are still there, then calls `done` on the server's loop. A further call
  // may bring the deadline forward and adds its `done`. The server may be destroyed in `done`.
  // [any]
  void shutdown(Duration deadline, std::move_only_function<void()> done);
  void shutdown(const Ending& how, std::move_only_function<void()> done);

  // Calls `fn` with every connection that has not ended, in a task of each loop, with threads from
  // all of them at once; then `done` on the server's loop. Connections that are made meanwhile may
  // be left out. An exception that leaves `fn` ends the connection that it was called with. [any],
  // after the first listen()
  void for_each_connection(std::function<void(TcpConnection&)> fn,
                           std::move_only_function<void()> done = {});

  std::size_t connection_count() const;  // [any]
  Stats stats() const;                   // [any], after the first listen()
  // The loops that connections live on. [any], after the first listen()
  std::size_t loop_count() const;
  EventLoop& loop(std::size_t index) const;

 private:
  class WEIR_HIDDEN Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir
