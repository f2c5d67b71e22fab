// TcpConnection: one stream connection (TCP or Unix) on one loop. [loop]
//
// The loop owns it. A handler receives it by reference, valid for the call; to keep hold of one,
// take ref(). All calls must come from the loop's thread and check that in every build. Nothing
// calls a handler from inside a call of the user's: what a call sets off is told later in the same
// turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/typed_context.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/socket/socket.h"
#include "weir/net/stream/connection_handler.h"

namespace WEIR_EXPORT weir {

class ConnectionRef;
class EventLoop;

class TcpConnection {
 public:
  enum class State : std::uint8_t {
    opening,  // the handshake of its transport; no handler knows of it yet
    open,
    closing,    // what is queued goes out, nothing comes in any more
    lingering,  // our FIN is sent; input is thrown away until the peer's FIN, or linger_timeout
    closed,     // ended; on_close comes in the reap phase of this turn
  };

  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  // Queues bytes in order. From inside this connection's own handler they leave when the handler
  // returns, all in one system call; from elsewhere on the loop, at the end of the turn. Much at
  // once leaves at once. The bytes are copied unless the kernel takes them on the spot.
  SendResult send(std::span<const std::byte> bytes);
  SendResult send(std::string_view bytes) { return send(std::as_bytes(std::span(bytes))); }
  // Sends all of `bytes` and empties it, whatever the result.
  SendResult send(Buffer& bytes);
  // Shares, never copies.
  SendResult send(SharedBytes bytes);
  // length bytes of the file from offset, by sendfile(2), in order with all else. A file that ends
  // early ends the connection with io_error. 16 files that wait count as the high mark.
  SendResult send_file(Fd file, std::uint64_t offset, std::uint64_t length);

  // Half-close: FIN after what is queued (shutdown(2), RFC 9293 3.6). Input goes on.
  void shutdown();
  // Orderly end: sends what is queued, then FIN, throws input away until the peer's FIN so that the
  // kernel does not destroy our last bytes with a RST (64 MiB at most, then RST), then closes.
  void close();
  // Ends now, with RST; what is queued is lost. A Unix socket has no RST: there the peer reads what
  // it was sent, and then an end like that of close() (ECONNRESET only if we left input unread), so
  // it cannot see that something is missing.
  void abort();

  // Counted: an answer is being made elsewhere. Until the last release() neither the peer's FIN nor
  // TcpServer::shutdown() closes the connection, but for the deadline. Resume reading before that.
  void hold_open();
  void release();
  // Counted: as many resumes as pauses. Input already read is offered again after the last resume.
  void pause_reading();
  void resume_reading();
  // Whether on_data would be called for what is left: not once the connection is closing, nor while
  // reading is paused or held back by output over the high mark. A handler that takes messages one
  // by one looks at it after each: inside on_data it also says no when that has held the loop for a
  // millisecond, and what is left then is offered in the next turn.
  bool reading() const;
  // What on_data leaves is offered again in the next turn without waiting for more, or, if reading
  // rests, as soon as it goes on. Nothing more is read from the socket before.
  void offer_again();
  // From on_data, for a handler that discards a message in parts: the bytes that this call consumes
  // belong to a message that has not ended. message_timeout then runs on from its beginning.
  void same_message_goes_on();

  ConnectionRef ref() const;
  EventLoop& loop() const;
  // Unique among the connections alive in this process. Stable until after on_close.
  std::uint64_t id() const;
  State state() const;
  // Asked from the kernel; unspecified once it has forgotten (after a reset).
  SocketAddress local_address() const;
  SocketAddress peer_address() const;
  SysResult<struct tcp_info> tcp_info() const;
  // Of a Unix connection: the process, user and group at the other end (SO_PEERCRED, unix(7)).
  SysResult<Credentials> peer_credentials() const;
  int fd() const;

  // Bytes accepted by send() that the kernel has not taken yet.
  std::uint64_t pending_output() const;
  // Bytes that on_data left unconsumed, as of its last return.
  std::size_t pending_input() const;
  std::uint64_t bytes_in() const;
  std::uint64_t bytes_out() const;
  bool peer_half_closed() const;

  // Replaces the handler (protocol upgrade). `handler` must outlive the connection.
  void set_handler(ConnectionHandler& handler);
  // The handler that is called now; nullptr once the server was destroyed.
  ConnectionHandler* handler() const;
  // Why the protocol of its transport failed, as a sentence; empty if it did not, or there is none.
  std::string failure() const;

  // One value of the user's, destroyed with the connection after on_close.
  template <typename T, typename... Args>
  T& set_context(Args&&... args) {
    return context_.set<T>(std::forward<Args>(args)...);
  }
  // nullptr when none, or one of another type, was set.
  template <typename T>
  T* context() const {
    return context_.get<T>();
  }

 protected:
  TcpConnection() = default;
  ~TcpConnection() = default;

  internal::TypedContext context_;
};

}  // namespace weir
