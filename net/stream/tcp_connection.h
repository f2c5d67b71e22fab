// TcpConnection: one stream connection (TCP or Unix) on one loop. [loop]
//
// The loop owns it. A handler receives it by reference, which is valid during the call; to keep a
// connection, take ref(). All member functions must be called on the loop's thread; those that
// change the connection check that in every build. None of them calls a handler: the events that
// they cause are reported after they have returned.
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
    opening,  // the handshake of its transport; on_open was not called yet
    open,
    closing,    // queued output is sent, input is discarded
    lingering,  // our FIN was sent; input is discarded until the peer's FIN, or linger_timeout
    closed,     // ended; on_close is called in the next reap phase of the loop
  };

  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  // Queues bytes in order. Sends of this connection's own handler are written when the handler
  // returns, together in one system call; sends from elsewhere on the loop, at the end of the turn.
  // 16 KiB or more are written at once if nothing is queued. Bytes that are not written at once are
  // copied.
  SendResult send(std::span<const std::byte> bytes);
  SendResult send(std::string_view bytes) { return send(std::as_bytes(std::span(bytes))); }
  // Sends all of `bytes` and empties it, whatever the result.
  SendResult send(Buffer& bytes);
  // The same; `bytes` is unspecified afterwards. A string of 16 KiB or more that fills at least
  // half of its capacity is not copied: its memory is kept until it was sent.
  template <std::same_as<std::string> String>
  SendResult send(String&& bytes) {
    return send_moved(std::forward<String>(bytes));
  }
  // Keeps a reference, and copies only messages of up to 128 bytes.
  SendResult send(SharedBytes bytes);
  // Sends `length` bytes of the file from `offset` with sendfile(2), in order with other output. If
  // the file is shorter, the connection ends with io_error. 16 waiting files count as the high
  // mark.
  SendResult send_file(Fd file, std::uint64_t offset, std::uint64_t length);

  // Half-close: sends queued output, then FIN (shutdown(2), RFC 9293 3.6). Input is still
  // delivered.
  void shutdown();
  // Orderly close: sends queued output, then FIN, and ends at the peer's FIN or after
  // linger_timeout. Input is discarded until then, because a close(2) with unread input sends a
  // RST, which can destroy our last bytes. After more than 64 MiB of such input the connection is
  // reset.
  void close();
  // Ends the connection at once, with a RST; queued output is lost. A Unix socket has no RST: its
  // peer reads all bytes that were sent, then an end of stream as after close() (ECONNRESET only if
  // we left input unread), so it cannot see that bytes are missing.
  void abort();

  // For an answer that is produced elsewhere. Counted: until release() was called as often as
  // hold_open(), neither the peer's FIN nor TcpServer::shutdown() closes the connection, except at
  // the deadline of shutdown(). If reading is paused, resume it before the last release(): when the
  // peer's FIN was read, that closes the connection, and input that on_data left is lost.
  void hold_open();
  void release();
  // Counted: reading resumes when resume_reading() was called as often as pause_reading(). Then
  // on_data is called with the input that it left, without waiting for more.
  void pause_reading();
  void resume_reading();
  // Whether on_data may be called again for input that it left: false once the connection is
  // closing, while reading is paused, and from the high mark of output until the low mark. A
  // handler that takes messages one by one checks it after each. Inside on_data it also returns
  // false when that call has held the loop for a millisecond; the rest is then delivered in the
  // next turn.
  bool reading() const;
  // Requests a call of on_data with the input that it left, without waiting for more: in the next
  // turn or, while reading is paused or held back, as soon as it resumes. Until then nothing is
  // read from the socket.
  void redeliver_input();
  // For an on_data that discards a message in parts: the bytes that this call consumes belong to a
  // message that has not ended, so consuming them does not restart message_timeout.
  void message_continues();

  ConnectionRef ref() const;
  EventLoop& loop() const;
  // Unique among the connections that exist in this process. Valid until after on_close.
  std::uint64_t id() const;
  State state() const;
  // Both ask the kernel; unspecified when it does not know the address any more (after a reset).
  SocketAddress local_address() const;
  SocketAddress peer_address() const;
  SysResult<struct tcp_info> tcp_info() const;
  // Process, user and group of the peer of a Unix connection (SO_PEERCRED, unix(7)).
  SysResult<Credentials> peer_credentials() const;
  int fd() const;

  // Bytes accepted by send() and send_file() that the kernel has not taken yet. Bytes that a
  // transport or a relay holds for this connection count.
  std::uint64_t pending_output() const;
  // Bytes that on_data left unconsumed. Not for use inside on_data.
  std::size_t pending_input() const;
  std::uint64_t bytes_in() const;
  std::uint64_t bytes_out() const;
  // Whether the peer's FIN was read.
  bool peer_half_closed() const;

  // Calls `notify` once, later, on the loop: with true when the kernel has taken everything that
  // was accepted before this call, which does not mean that the peer has received it; with false,
  // just before on_close, when the connection ends before that. Not called after the server was
  // destroyed, and not when requested in on_close or in a call with false. Each pending
  // notification counts as 48 bytes of queued output. An exception that leaves `notify` ends the
  // connection with handler_threw. If `notify` uses a handler that may be replaced, the connection
  // should own that handler: it then lives until `notify` was called.
  void when_sent(std::move_only_function<void(TcpConnection&, bool sent)> notify);

  // Replaces the handler (protocol upgrade). The new one gets all later events, but not on_open.
  // Input that the old one left is delivered to the new one in the next turn. Not for a relayed
  // connection (CHECK). No effect after the server was destroyed. `handler` must outlive the
  // connection.
  void set_handler(ConnectionHandler& handler);
  // The connection owns the handler. It destroys it after on_close or, if the handler is replaced,
  // later: at the end of the turn, so that a handler may replace itself, and after the
  // notifications of when_sent() that were requested before.
  void set_handler(std::unique_ptr<ConnectionHandler> handler);
  // The current handler; nullptr after the server was destroyed.
  ConnectionHandler* handler() const;
  // Why the protocol of the transport failed, as a sentence; empty if it has not failed, or if
  // there is no transport.
  std::string failure() const;

  // Replace idle_timeout and message_timeout of the server's or client's options for this
  // connection from now on. Zero or less: no deadline. Time that has already passed since the last
  // byte counts; so does time since the pending message began, if a message timeout was set by
  // then.
  void set_idle_timeout(Duration timeout);
  void set_message_timeout(Duration timeout);

  // One value for the protocol that runs on the connection, such as the state of a protocol
  // library. context() is for the program. Destroyed after on_close, before the context.
  template <typename T, typename... Args>
  T& set_protocol(Args&&... args) {
    return make_protocol_slot().set<T>(std::forward<Args>(args)...);
  }
  // nullptr if no value, or a value of another type, was set.
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
