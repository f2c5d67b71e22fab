// TcpClient: one connection to a server, optionally with automatic reconnects. [loop]
//
//   TcpClient client(loop, {.reconnect = {.initial = 100ms, .max = 30s}});
//   client.on_data([](TcpConnection& conn, Buffer& in) { ... });
//   client.on_connect_error([](const Error& error, int attempt) { ... });
//   if (auto begun = client.connect("127.0.0.1:7000"); !begun) return weir::fail(begun.error());
//
// The client and its connection live on the loop that the client is constructed with. Set handlers
// before the first connect(). No handler is called from inside a function of this class.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/metrics.h"
#include "weir/base/result.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/stream/transport.h"

namespace WEIR_EXPORT weir {

class TcpClient {
 public:
  // Makes a new attempt after one that failed and after a connection that ended, unless the program
  // ended it: by TcpClient::close(), or by the connection's close() or abort(), for which
  // CloseReason is local_close or aborted. (A handler does that when an answer is missing,
  // FramedHandler after a bad frame.) In that case call TcpClient::reconnect() for the next
  // attempt; otherwise the client stays unconnected and logs that at level info. The wait doubles
  // from `initial` to `max`, and starts at `initial` again after a connection that lived longer
  // than the next wait.
  struct Reconnect {
    Duration initial = std::chrono::milliseconds(100);  // at least 1 ms
    Duration max = std::chrono::seconds(30);
    double jitter = 0.5;  // a random part of each wait, at most this fraction (0 to 1), is omitted
    int attempts = 0;     // no more retries after this number of failures in a row; 0: no limit
    bool enabled = true;
    static constexpr Reconnect off() { return {.enabled = false}; }
  };

  struct Options {
    // For one attempt, all its addresses together. Zero: the kernel's limit (tcp(7),
    // tcp_syn_retries: two minutes).
    Duration connect_timeout = std::chrono::seconds(10);
    Reconnect reconnect = Reconnect::off();
    // The local address to connect from. With port 0 the kernel chooses the port at connect(2), so
    // that connections to different peers can share a port (IP_BIND_ADDRESS_NO_PORT). The file of a
    // Unix path (permissions 0600) is removed at the end of the attempt or the connection that it
    // was created for. A file that already exists is an error, because a client that still runs may
    // be using it.
    std::optional<SocketAddress> bind_to{};
    Trigger trigger = Trigger::level;

    // The same as in TcpServer::Options.
    Duration idle_timeout{0};
    Duration read_idle_timeout{0};
    Duration first_byte_timeout{0};
    Duration message_timeout{0};
    Duration write_stall_timeout = std::chrono::seconds(300);
    Duration heartbeat_interval{0};
    std::uint64_t max_input = 1024 * 1024;
    std::uint64_t high_water = 1024 * 1024;
    std::uint64_t max_output = 4 * 1024 * 1024;
    Overflow overflow = Overflow::close;
    bool allow_half_open = false;
    bool nodelay = true;
    bool keep_alive = false;
    // Makes the Transport of each connection, such as TLS; null: bytes go directly to the socket.
    // on_open is called after the handshake. Connections with a transport are level-triggered.
    std::shared_ptr<TransportFactory> transport{};
    Duration handshake_timeout = std::chrono::seconds(10);

    Duration linger_timeout = std::chrono::seconds(5);
    Duration drain_timeout = std::chrono::seconds(30);
    Duration drain_limit = std::chrono::hours(1);
    Duration user_timeout{0};
    int receive_buffer = 0;
    int send_buffer = 0;
    int notsent_lowat = 0;
  };

  enum class State : std::uint8_t {
    idle,        // no attempt and no connection. Also in on_close, before a reconnect is scheduled
    connecting,  // an attempt or the handshake of a transport is in progress
    waiting,     // for the next attempt
    connected,   // the connection is open or closing
  };

  struct Stats {
    std::uint64_t attempts = 0;  // that were started
    std::uint64_t failures = 0;  // attempts that failed
    std::uint64_t opened = 0;    // connections
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::array<std::uint64_t, CloseReason::kKinds> closed{};  // by CloseReason::Kind
    // The difference of the counters.
    friend Stats operator-(Stats later, const Stats& earlier) {
      return metrics_difference(later, earlier);
    }
    // The names of the metrics, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
    // Connections that ended for this reason.
    std::uint64_t closed_by(CloseReason::Kind kind) const {
      return closed[static_cast<std::size_t>(kind)];
    }
  };

  explicit TcpClient(EventLoop& loop) : TcpClient(loop, Options{}) {}
  TcpClient(EventLoop& loop, Options options);
  // Also from inside one of its handlers. A connection that is still open is reset without a call
  // of on_close; for an orderly end call close() and wait for on_close.
  ~TcpClient();
  TcpClient(const TcpClient&) = delete;
  TcpClient& operator=(const TcpClient&) = delete;

  // Handlers: see ConnectionHandler for when each is called.
  void on_open(std::move_only_function<void(TcpConnection&)> fn);
  void on_data(std::move_only_function<void(TcpConnection&, Buffer&)> fn);
  void on_half_close(std::move_only_function<void(TcpConnection&)> fn);
  void on_blocked(std::move_only_function<void(TcpConnection&)> fn);
  void on_drained(std::move_only_function<void(TcpConnection&)> fn);
  void on_timeout(std::move_only_function<bool(TcpConnection&, CloseReason::Kind)> fn);
  void on_heartbeat(std::move_only_function<void(TcpConnection&)> fn);
  void on_close(std::move_only_function<void(TcpConnection&, CloseReason)> fn);
  // Sets one handler object in place of the functions above.
  void use_handler(std::shared_ptr<ConnectionHandler> handler);
  // Sets a factory of one handler for each connection; see TcpServer::handlers_per_connection().
  void handlers_per_connection(
      std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory);
  // An attempt failed: "connect to 127.0.0.1:80: Connection refused", or "connect to 127.0.0.2:80,
  // the last of 3 addresses: Connection refused". `attempt` counts the failures in a row, from 1.
  // Another attempt follows if state() is `waiting`. Each attempt ends with exactly one call of
  // on_open or of this function, unless close() or the destructor ends it. An exception from the
  // function leaves EventLoop::run(). Without the function, failures are logged.
  void on_connect_error(std::move_only_function<void(const Error& error, int attempt)> fn);

  // Starts to connect. Several addresses are tried in order; each may use an equal share of the
  // rest of connect_timeout. A share begins with connect(2) and is limited even if the loop is
  // blocked meanwhile, so that each address is tried. Returns an error if the text is not an
  // address, if the list is empty or has an unspecified address, if the client has (EISCONN) or
  // makes (EALREADY) a connection (call close() first), or if its handler waits for messages longer
  // than max_input.
  [[nodiscard]] Result<void> connect(std::string_view address);
  [[nodiscard]] Result<void> connect(const SocketAddress& address);
  [[nodiscard]] Result<void> connect(std::vector<SocketAddress> addresses);

  // Requests the next attempt, after the wait of Options::reconnect, whether or not that is
  // enabled. An open connection is closed in order first; to reset it, call its abort() afterwards.
  // May be called in on_close, also if the program ended the connection. Does nothing while an
  // attempt is in progress or scheduled. False: connect() was never called, or there is no memory
  // for the timer.
  bool reconnect();

  // Closes the connection in order, or cancels the attempt or the wait for the next one. on_close
  // is still called for a connection; no reconnect follows. connect() may be called again at once.
  void close();

  State state() const;
  // The connection; empty unless state() is `connected`, or `connecting` with a transport.
  ConnectionRef connection() const;
  Stats stats() const;

 private:
  class WEIR_HIDDEN Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir
