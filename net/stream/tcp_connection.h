// TcpConnection: one stream connection (TCP or Unix) on one loop. [loop]
//
// The loop owns it. A handler receives it by reference, valid for the call; to keep hold of one,
// take ref(). All calls must come from the loop's thread and check that in every build. Nothing
// calls a handler from inside a call of the user's: what a call sets off is told later in the same
// turn.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/clock.h"
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

class TcpConnection : public internal::WithContext {
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
  // Takes `bytes` over, whatever the result. From 16 KiB on its memory is kept until it has left,
  // so nothing is copied.
  template <std::same_as<std::string> String>
  SendResult send(String&& bytes) {
    return send_moved(std::move(bytes));
  }
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

  // Calls `notify` once, later and on the loop: with true when the kernel has taken everything that
  // was accepted before this call, which says nothing of what the peer has received; with false,
  // just before on_close, when the connection ends earlier. Never called once the server was
  // destroyed, nor when asked for in on_close. The calls that wait count as queued output, 48 bytes
  // each. An exception that leaves one ends the connection with handler_threw.
  void when_sent(std::move_only_function<void(bool sent)> notify);

  // Replaces the handler (protocol upgrade). The new one is not offered the input that the old one
  // has left until more comes: see offer_again(). Not for a relayed connection (CHECK).
  // `handler` must outlive the connection.
  void set_handler(ConnectionHandler& handler);
  // The connection owns it, and destroys it after on_close; or, if another replaces it, later in
  // that turn, so that a handler may replace itself.
  void set_handler(std::unique_ptr<ConnectionHandler> handler);
  // The handler that is called now; nullptr once the server was destroyed.
  ConnectionHandler* handler() const;
  // Why the protocol of its transport failed, as a sentence; empty if it did not, or there is none.
  std::string failure() const;

  // In place of idle_timeout and message_timeout of the server's or client's options, for this
  // connection from now on; zero: none. What has passed since the last byte, or since the message
  // at hand began, counts.
  void set_idle_timeout(Duration timeout);
  void set_message_timeout(Duration timeout);

  // One value of the protocol that runs on the connection, such as a library's, beside the context,
  // which is the user's. Destroyed after on_close, before the context.
  template <typename T, typename... Args>
  T& set_protocol(Args&&... args) {
    return make_protocol_slot().set<T>(std::forward<Args>(args)...);
  }
  // nullptr when none, or one of another type, was set.
  template <typename T>
  T* protocol() const {
    const internal::TypedContext* slot = protocol_slot();
    return slot == nullptr ? nullptr : slot->get<T>();
  }

 protected:
  TcpConnection() = default;
  ~TcpConnection() = default;

 private:
  SendResult send_moved(std::string&& bytes);
  internal::TypedContext& make_protocol_slot();
  const internal::TypedContext* protocol_slot() const;
};

}  // namespace weir
