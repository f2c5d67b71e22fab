// TcpConnection: one stream connection (TCP or Unix) on one loop. [loop]
//
// The loop owns it. A handler receives it by reference, valid for the call; to keep hold of one,
// take ref(). All calls must come from the loop's thread and check that in every build. Nothing
// calls a handler from inside a call of the user's: what a call sets off is told later in the same
// turn.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "weir/base/fd.h"
#include "weir/base/intrusive_list.h"
#include "weir/base/typed_context.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket.h"
#include "weir/net/stream/connection_flags.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/transport.h"

namespace weir {

class ConnectionRef;

namespace internal {
class BroadcastPart;
class BudgetHolders;
class ConnectionGroup;
class RelayPair;
struct GroupTag;
struct LoopIo;
}  // namespace internal

class TcpConnection final : private internal::LoopClient, public ListHook<internal::GroupTag> {
 public:
  enum class State : std::uint8_t {
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
  // rests, as soon as it goes on. Nothing more is read from the socket before. Nothing is offered
  // any more once the peer's FIN was read (peer_half_closed()).
  void offer_again();
  // From on_data, for a handler that discards a message in parts: the bytes that this call consumes
  // belong to a message that has not ended. message_timeout then runs on from its beginning.
  void same_message_goes_on() { same_message_ = true; }

  ConnectionRef ref() const;
  EventLoop& loop() const { return channel_.loop(); }
  // Unique among the connections alive in this process. Stable until after on_close.
  std::uint64_t id() const;
  State state() const { return state_; }
  // Asked from the kernel; unspecified once it has forgotten (after a reset).
  SocketAddress local_address() const { return internal::local_address_of(fd_.get()); }
  SocketAddress peer_address() const { return internal::peer_address_of(fd_.get()); }
  SysResult<struct tcp_info> tcp_info() const { return internal::tcp_info_of(fd_.get()); }
  // Of a Unix connection: the process, user and group at the other end (SO_PEERCRED, unix(7)).
  SysResult<Credentials> peer_credentials() const {
    return internal::peer_credentials_of(fd_.get());
  }
  int fd() const { return fd_.get(); }

  // Bytes accepted by send() that the kernel has not taken yet.
  std::uint64_t pending_output() const;
  // Bytes that on_data left unconsumed, as of its last return.
  std::size_t pending_input() const { return input_ ? input_->size() : 0; }
  std::uint64_t bytes_in() const { return bytes_in_; }
  std::uint64_t bytes_out() const { return bytes_out_; }
  bool peer_half_closed() const { return is_.read_eof; }

  // Replaces the handler (protocol upgrade). `handler` must outlive the connection.
  void set_handler(ConnectionHandler& handler);
  // Who is told now; nullptr once the server was destroyed.
  ConnectionHandler* handler() const { return handler_; }

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

 private:
  friend class ConnectionRef;
  friend class internal::ConnectionGroup;
  friend class internal::RelayPair;
  friend class internal::BroadcastPart;
  friend class internal::BudgetHolders;

  TcpConnection(internal::ConnectionGroup& group, Fd fd);
  ~TcpConnection() { channel_.remove(); }  // before fd_ goes
  struct Remove {                          // from its group, and then destroys it
    void operator()(TcpConnection* connection) const;
  };

  // What the loop calls.
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;
  void on_deadline() override;
  void on_flush() override;
  void on_reap() override;

  // What the group calls.
  void open();
  void stop_gracefully();
  void forget_handler();

  // Input (tcp_input.cc).
  bool may_read() const;
  bool may_offer() const;
  std::size_t read_allowance() const;
  void read_ready();
  std::size_t read_once();
  SysResult<std::size_t> receive_behind_leftover(std::size_t room);
  void deliver_leftover();
  void keep_leftover(Buffer& in);
  void check_input_bound();
  void note_read(std::size_t n);
  void input_ended();
  void follow_peer();
  void input_failed(Errno error);
  void want_read_again();
  void offer_if_out_of_share();
  void end_if_drained();
  void throw_away(std::size_t n);
  void note_slack();
  void hear_peer();

  // Output (tcp_output.cc).
  bool accepts_output() const;
  bool output_waits() const;
  bool admit(std::uint64_t size, bool written_at_once, SendResult& refusal);
  bool within_budget(std::uint64_t more);
  void over_budget();
  bool hold_producer();
  void release_producers();
  bool above_high_mark() const;
  bool below_low_mark() const;
  SendResult send_slowly(std::span<const std::byte> bytes);
  std::optional<SendResult> send_past_queue(const SharedBytes& bytes);
  void write_gathered(std::span<const std::byte> gathered);
  SendResult queued_result();
  OutputQueue& output();
  void write_or_queue(std::span<const std::byte> first, std::span<const std::byte> second);
  void keep_unwritten(SysResult<std::size_t> result, std::span<const std::byte> first,
                      std::span<const std::byte> second, std::size_t offered);
  void flush_output();
  SysResult<std::size_t> write_front(std::uint64_t most, std::uint64_t& offered);
  SysResult<std::size_t> write_queued(std::uint64_t most, std::uint64_t& offered);
  std::uint64_t write_allowance() const;
  void note_bulk_written(std::size_t n);
  void output_refused();
  void output_failed(Errno error);
  void note_written(std::size_t n, internal::Tick when);
  void cork();
  void uncork();

  // As one side of a relay (tcp_relay.cc).
  internal::RelayPair& relay_pair() const;
  std::size_t read_relayed();
  std::size_t output_room();
  bool relay_drained() const;
  std::size_t relay_held() const;
  bool relay_full() const;
  SysResult<std::size_t> write_relayed();

  // Deadlines (tcp_deadlines.cc).
  template <typename Fn>
  void each_deadline(Fn&& fn);
  void arm_deadline();
  void judge_deadlines();
  void expired(internal::Deadline which, internal::Tick& since);
  void out_of_time(CloseReason::Kind kind, internal::Tick& since);
  void remind_handler(internal::Tick& since);
  void peers_turn();

  // Life (tcp_connection.cc).
  template <typename Call>
  void call_handler(const char* event, Call&& call);
  void handler_threw(const char* event, const char* what);
  template <typename Fn>
  void without_throwing(Fn&& fn);
  void serve(std::uint32_t events);
  void settle();
  void settle_later();
  void update_interest();
  void read_gate_changed();
  void follow_read_gate();
  void start_close(CloseReason reason);
  void advance_close();
  void finish(CloseReason reason);
  void reset(CloseReason reason);
  void end_with_rst() const;
  void back_off(Errno error);
  void retry_after_back_off();
  void account();
  void apply_budget();
  bool stalled_for(internal::Tick patience) const;
  void give_up_memory();
  void tell_watchers();
  void end_watches();
  internal::Tick now() const { return channel_.loop().tick(); }
  // For what begins to wait: now() may be as old as the callbacks of this turn took.
  static internal::Tick clock_now();
  bool edge() const;
  bool calm() const;
  void stop_gathering();

  // Constant after construction, as fd_ below.
  Channel channel_;
  internal::ConnectionGroup* const group_;

  ConnectionHandler* handler_;
  internal::Transport* transport_;
  std::unique_ptr<Buffer> input_;        // only while the handler leaves bytes
  std::unique_ptr<OutputQueue> output_;  // while the kernel refuses, or until the flush phase
  internal::TypedContext context_;
  std::uint64_t charged_ = 0;  // to the group's budget, for input_ and output_
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  internal::Tick last_read_;       // a byte came
  internal::Tick last_activity_;   // a byte went, or (as each_deadline() looks) came
  internal::Tick write_progress_;  // output began to wait, or the kernel took some of it
  internal::Tick since_;           // when state_ became what it is
  internal::Tick message_since_;   // when the handler last consumed, or left, of input_
  std::uint32_t pauses_ = 0, holds_ = 0;
  std::uint32_t thrown_away_ = 0;  // bytes that came after close()

  Fd fd_;
  internal::ConnectionFlags is_;
  CloseReason reason_;          // of the close in progress; then the one that on_close is told
  std::uint8_t back_offs_ = 0;  // ENOBUFS and kin in a row
  State state_ = State::open;
  std::uint16_t written_kib_ = 0;  // at once and by flushes, since the last flush phase
  bool same_message_ : 1 = false;  // of same_message_goes_on(), in this call of on_data
  bool watched_ : 1 = false;       // somebody in LoopIo::watchers wants to know of it
  bool output_lost_ : 1 = false;   // some that was accepted is not sent: ends with RST
  bool holder_ : 1 = false;        // known to the group's BudgetHolders
};

}  // namespace weir
