// ConnectionHandler: the events of a connection, with SendResult, Overflow and CloseReason. [loop]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/buffer/buffer.h"

namespace WEIR_EXPORT weir {

class TcpConnection;

// The result of a send().
enum class SendResult : std::uint8_t {
  queued,           // accepted: sent, or queued in order
  above_high_mark,  // accepted, but high_water bytes or more wait: stop until on_drained
  dropped,          // discarded whole: see Overflow
  closed,           // not accepted: the connection ended, is closing, or shutdown() was called
};

// The effect of a send() after which more than max_output would wait, or for whose bytes the buffer
// budget has no room.
enum class Overflow : std::uint8_t {
  close,  // the connection is reset, because its peer is too slow
  drop,   // this message is discarded, whole
  // The message is accepted. The connection whose handler sent it is not read until this one has
  // drained or ended. A message that no handler of a connection on the same loop sent is dropped.
  pause,
};

// Why a connection ended. `error` is the errno that caused it, 0 if none did.
struct CloseReason {
  enum class Kind : std::uint8_t {
    peer_eof,            // the peer closed or half-closed, and the connection closed after it
    reset,               // the peer sent RST: ECONNRESET, or EPIPE if a send found it
    local_close,         // close()
    aborted,             // abort()
    idle_timeout,        // no byte in either direction for idle_timeout
    read_idle_timeout,   // no byte received for read_idle_timeout
    first_byte_timeout,  // no byte received within first_byte_timeout
    message_timeout,     // bytes left by the handler, none consumed for message_timeout
    write_stall,         // output waited, and none was taken for write_stall_timeout
    drain_timeout,       // close() waited for drain_timeout without progress, or for drain_limit
    output_overflow,     // max_output reached (ENOBUFS), or the buffer budget spent (ENOMEM)
    input_overflow,      // max_input reached, 64 MiB received after close(), or as above (ENOMEM)
    handler_threw,       // an exception left a handler or a posted function
    server_stopped,      // TcpServer::shutdown(), or the server or client was destroyed
    io_error,            // a system call failed, or memory ran out: see `error`
    handshake_timeout,   // the transport's handshake took too long; on_open was not called
    transport_failed,    // the transport failed: see TcpConnection::failure()
  };
  static constexpr std::size_t kKinds = 17;

  Kind kind = Kind::local_close;
  Errno error;

  // "reset (ECONNRESET)".
  std::string to_string() const;
  friend bool operator==(CloseReason, CloseReason) = default;
};

std::string_view to_string(CloseReason::Kind kind);

// The events of a connection. All are called on the thread of its loop, one at a time for one
// connection, and never by a call that the program makes. An event may close the connection and
// destroy its server or client. An exception that leaves an event ends that connection with
// handler_threw.
//
// One handler may serve many connections. With several loops it is called on the threads of all of
// them at the same time, unless handlers_per_loop() or handlers_per_connection() of TcpServer made
// it.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;

  // Size in bytes of the longest message that on_data waits for, including its framing; 0: unknown.
  // A message longer than max_input would never be complete: listen(), adopt() and connect() return
  // an error for such a handler, and set_handler() logs a warning. [any]
  virtual std::uint64_t longest_message() const { return 0; }

  // The first event, once. The connection accepts output from now on.
  virtual void on_open(TcpConnection&) {}
  // Bytes were received. Bytes that are left in `in` are passed again in the next call, followed by
  // those received since. `in` is valid during the call.
  virtual void on_data(TcpConnection&, Buffer& in) { in.clear(); }
  // The peer's FIN was read: no more input follows. Called once. The connection then closes, unless
  // allow_half_open is set or hold_open() was called. Queued output, also of this call, is sent
  // before that.
  virtual void on_half_close(TcpConnection&) {}
  // high_water bytes or more wait to be sent. Nothing is read until on_drained.
  virtual void on_blocked(TcpConnection&) {}
  // At most half of high_water waits again. Follows on_blocked, and each send() that returned
  // above_high_mark.
  virtual void on_drained(TcpConnection&) {}
  // idle_timeout, read_idle_timeout, first_byte_timeout or message_timeout has passed. False: the
  // connection closes in order, after the bytes that this call sends. True: it stays open, and that
  // deadline restarts.
  virtual bool on_timeout(TcpConnection&, CloseReason::Kind) { return false; }
  // Nothing was sent for heartbeat_interval.
  virtual void on_heartbeat(TcpConnection&) {}
  // The last event, once. Nothing can be sent any more; addresses and counters are still available.
  virtual void on_close(TcpConnection&, CloseReason) {}
};

}  // namespace weir
