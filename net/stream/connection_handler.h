// What a connection tells its owner, and the words it uses. [loop]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/buffer/buffer.h"

namespace WEIR_EXPORT weir {

class TcpConnection;

// What became of a send().
enum class SendResult : std::uint8_t {
  queued,           // accepted: sent, or waiting in order for its turn
  above_high_mark,  // accepted, but high_water bytes or more wait: stop until on_drained
  dropped,          // refused whole by max_output with Overflow::drop
  closed,           // the connection takes no more: it ended, is closing, or shutdown() was called
};

// What happens when a send() would put more than max_output in wait.
enum class Overflow : std::uint8_t {
  close,  // the connection is reset: its peer is too slow for what it asked for
  drop,   // this message is left out, whole
  // Accepted; the connection whose handler sent it is not read until this one has drained or ended.
  // What does not come from a connection's handler on the same loop is dropped.
  pause,
};

// Why a connection ended. `error` is the errno behind it, 0 if none.
struct CloseReason {
  enum class Kind : std::uint8_t {
    peer_eof,            // the peer closed, or half-closed and we followed
    reset,               // RST: ECONNRESET, or EPIPE when it was a send that found out
    local_close,         // close()
    aborted,             // abort()
    idle_timeout,        // no byte either way for idle_timeout
    read_idle_timeout,   // no byte came for read_idle_timeout
    first_byte_timeout,  // no byte ever came
    message_timeout,     // the handler left bytes, and what they wait for did not come in time
    write_stall,         // the peer accepted nothing for write_stall_timeout
    drain_timeout,       // after close() the peer took none of what was queued, or not all in time
    output_overflow,     // max_output with Overflow::close
    input_overflow,      // the handler left max_input bytes unconsumed; or a flood after close()
    handler_threw,       // an exception left a handler
    server_stopped,      // TcpServer::shutdown
    io_error,            // the kernel refused to go on; see `error`
    handshake_timeout,   // the handshake of its transport was not over in time; on_open never came
    transport_failed,    // so did its transport; TcpConnection::failure() says why
  };
  static constexpr std::size_t kKinds = 17;

  Kind kind = Kind::local_close;
  Errno error;

  // "reset (ECONNRESET)".
  std::string to_string() const;
  friend bool operator==(CloseReason, CloseReason) = default;
};

std::string_view to_string(CloseReason::Kind kind);

// The events of a connection. All are called on its loop's thread, never from inside a call of the
// user's, never two at once for one connection. A connection may be closed and any object destroyed
// from inside. An exception that leaves one ends that connection with handler_threw.
//
// One handler serves many connections; with several loops it is called from all of them at once,
// unless it was made by TcpServer::handlers_per_loop.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;

  // Bytes of input that the longest message takes which on_data waits for; 0: it does not say. A
  // message longer than max_input would never be complete: listen(), adopt() and connect() refuse
  // such a handler, and set_handler() logs a warning. [any]
  virtual std::uint64_t longest_message() const { return 0; }

  // First, once. The connection can be sent to.
  virtual void on_open(TcpConnection&) {}
  // Bytes have come. What is left in `in` is there again next time, with more behind it. `in` is
  // valid for the call.
  virtual void on_data(TcpConnection&, Buffer& in) { in.clear(); }
  // The peer will send no more; once. Unless allow_half_open is set the connection then closes,
  // after what is queued, including by this call.
  virtual void on_half_close(TcpConnection&) {}
  // high_water bytes or more wait to be sent. Nothing is read meanwhile.
  virtual void on_blocked(TcpConnection&) {}
  // At most half of high_water is waiting again. Follows on_blocked, and every send() that said
  // above_high_mark.
  virtual void on_drained(TcpConnection&) {}
  // idle_timeout, read_idle_timeout, first_byte_timeout or message_timeout has passed. False: the
  // connection closes in order, after what this call sends, such as a last word. True: it goes on,
  // and that deadline starts anew.
  virtual bool on_timeout(TcpConnection&, CloseReason::Kind) { return false; }
  // Nothing was sent for heartbeat_interval.
  virtual void on_heartbeat(TcpConnection&) {}
  // Last, once. Nothing can be sent any more; addresses and counters can still be asked for.
  virtual void on_close(TcpConnection&, CloseReason) {}
};

}  // namespace weir
