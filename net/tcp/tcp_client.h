// TcpClient: one connection to a server, made anew when it breaks if that is wanted. [loop]
//
//   TcpClient client(loop, {.reconnect = {.initial = 100ms, .max = 30s}});
//   client.on_data([](TcpConnection& conn, Buffer& in) { ... });
//   client.on_connect_error([](const Error& error, int attempt) { ... });
//   if (auto begun = client.connect("127.0.0.1:7000"); !begun) return weir::fail(begun.error());
//
// The client and its connection live on the loop that it is made with. Handlers are set before the
// first connect(). Nothing is called from inside a call of the user's.
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
  // Tries again after a connect that failed and after a connection that ended, unless the program
  // ended it: by TcpClient::close(), or by the connection's close() or abort() (its CloseReason is
  // local_close or aborted), as a handler does after a missing answer, or FramedHandler after a bad
  // frame. Then TcpClient::reconnect() asks for the next attempt; without it, a line of level info
  // says that the client stays unconnected. The wait doubles from `initial` to `max`, and starts at
  // `initial` again after a connection that lived longer than the next wait would have been.
  struct Reconnect {
    Duration initial = std::chrono::milliseconds(100);  // at least 1 ms
    Duration max = std::chrono::seconds(30);
    double jitter = 0.5;  // this part of each wait, at most, is left out by chance; 0 to 1
    int attempts = 0;     // gives up when so many in a row have failed; 0: never
    bool enabled = true;
    static constexpr Reconnect off() { return {.enabled = false}; }
  };

  struct Options {
    // For one attempt, all its addresses together. Zero: as long as the kernel tries (tcp(7),
    // tcp_syn_retries: two minutes).
    Duration connect_timeout = std::chrono::seconds(10);
    Reconnect reconnect = Reconnect::off();
    // The local address to connect from. Port 0: any, chosen so that one address serves as many
    // connections as there are different peers (IP_BIND_ADDRESS_NO_PORT). The file of a Unix path
    // (with permissions 0600) is removed with the attempt or the connection that it was made for.
    // One that is there before is an error: nobody can tell whether its client still lives.
    std::optional<SocketAddress> bind_to{};
    Trigger trigger = Trigger::level;

    // As TcpServer::Options.
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
    // How bytes get to the peer and back; null: by the plain socket. on_open comes after its
    // handshake. Connections that have one are level-triggered.
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
    idle,        // nothing is under way. Also in on_close, after which a reconnect may be set
    connecting,  // an attempt is under way
    waiting,     // for the next attempt
    connected,   // there is a connection, which has not ended
  };

  struct Stats {
    std::uint64_t attempts = 0;  // begun
    std::uint64_t failures = 0;  // attempts that failed
    std::uint64_t opened = 0;    // connections
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::array<std::uint64_t, CloseReason::kKinds> closed{};  // by CloseReason::Kind
    // The difference of the counters.
    friend Stats operator-(Stats later, const Stats& earlier);
    // Their names, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
    // Connections that ended for that reason.
    std::uint64_t closed_by(CloseReason::Kind kind) const {
      return closed[static_cast<std::size_t>(kind)];
    }
  };

  explicit TcpClient(EventLoop& loop) : TcpClient(loop, Options{}) {}
  TcpClient(EventLoop& loop, Options options);
  // Also from inside a handler of its own. A connection still there is reset without a call of
  // on_close; for an orderly end call close() and wait for on_close.
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
  // Instead of the functions above.
  void use_handler(std::shared_ptr<ConnectionHandler> handler);
  // Or one for each connection: see TcpServer.
  void handlers_per_connection(
      std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory);
  // An attempt failed, the attempt-th in a row: "connect to 127.0.0.1:80: Connection refused", or
  // "connect to 127.0.0.2:80, the last of 3 addresses: Connection refused". If state() is then
  // `waiting` another will follow. An attempt ends with on_open or with this, exactly once, unless
  // close() or the destructor cut it short. An exception from it comes out of EventLoop::run().
  // Without it, failures are logged.
  void on_connect_error(std::move_only_function<void(const Error& error, int attempt)> fn);

  // Begins to connect. Several addresses are tried in order, each with an equal share of what is
  // left of connect_timeout. A share begins with connect(2), and an address uses no more than its
  // own, also if the loop is held meanwhile; so each address is tried. An error value: the text is
  // no address, there is none, the client has (EISCONN) or makes (EALREADY) a connection (close()
  // first), or its handler waits for messages longer than max_input.
  [[nodiscard]] Result<void> connect(std::string_view address);
  [[nodiscard]] Result<void> connect(const SocketAddress& address);
  [[nodiscard]] Result<void> connect(std::vector<SocketAddress> addresses);

  // Asks for the next attempt, which comes after the wait that Reconnect says, whether or not it is
  // enabled. A connection is ended in order first; call its abort() afterwards if it shall not be.
  // In on_close: also after an end that was the program's own. Nothing changes while an attempt is
  // under way or waited for. False: connect() was never called, so there is nowhere to connect to.
  bool reconnect();

  // Ends the connection in order, or the attempt, or the wait for the next. on_close of a
  // connection still comes; no reconnect follows. connect() may be called again at once.
  void close();

  State state() const;
  // The connection; refers to none unless connected.
  ConnectionRef connection() const;
  Stats stats() const;

 private:
  class WEIR_HIDDEN Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir
