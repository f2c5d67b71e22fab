// Connection: the implementation behind TcpConnection, for the floors of weir. TcpConnection is the
// part of it that programs use. [loop]
//
// The loop owns it: its ConnectionGroup makes it, and it frees itself in on_reap(). The comment at
// the top of connection_life.cc describes its states and invariants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "weir/base/fd.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/connection_extras.h"
#include "weir/net/stream/internal/connection_state.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir::internal {

class ConnectionGroup;
class ConnectionObserver;
struct GroupTag;
struct LoopIo;

class Connection final : public TcpConnection,
                         public IoHandler,
                         public FlushClient,
                         public ListHook<GroupTag> {
 public:
  Connection(ConnectionGroup& group, Fd fd);
  ~Connection() { channel_.remove(); }  // before fd_ goes

  // -- as TcpConnection ---------------------------------------------------------------------------
  SendResult send(std::span<const std::byte> bytes);
  SendResult send(SharedBytes bytes);
  SendResult send(std::string&& bytes);
  SendResult send_file(Fd file, std::uint64_t offset, std::uint64_t length);
  void shutdown();
  void close();
  void abort();
  void hold_open();
  void release();
  void pause_reading();
  void resume_reading();
  bool reading() const;
  void redeliver_input();
  void message_continues();
  ConnectionRef ref() const;
  EventLoop& loop() const { return channel_.loop(); }
  LoopCore& core() const { return core_of(channel_); }
  std::uint64_t id() const;
  State state() const { return state_; }
  int fd() const { return fd_.get(); }
  std::uint64_t pending_output() const;
  std::size_t pending_input() const { return input_ ? input_->size() : 0; }
  std::uint64_t bytes_in() const { return bytes_in_; }
  std::uint64_t bytes_out() const { return bytes_out_; }
  bool peer_half_closed() const { return status_.gate.shut_by(ReadGate::peer_ended); }
  void set_handler(ConnectionHandler& handler);
  void set_handler(std::unique_ptr<ConnectionHandler> handler);
  void set_idle_timeout(Duration timeout);
  void set_message_timeout(Duration timeout);
  void when_sent(std::move_only_function<void(TcpConnection&, bool)> notify);
  TypedContext& make_protocol_slot();
  const TypedContext* protocol_slot() const { return extras_ ? &extras_->protocol : nullptr; }
  ConnectionHandler* handler() const { return handler_; }
  std::string failure() const;

  // -- for the loop -------------------------------------------------------------------------------
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;
  void on_deadline() override;
  void on_flush() override;
  void on_reap() override;

  // -- for the group ------------------------------------------------------------------------------
  void open();
  void stop_gracefully();
  // The server is being destroyed: its handler is not called any more.
  void forget_handler();
  ConnectionGroup& group() const { return *group_; }
  CloseReason reason() const { return reason_; }
  void set_observed(bool on) { observed_ = on; }
  // Whether on_open was called, or is to be called next.
  bool was_opened() const { return opened_; }

  // -- for code that sends to it from outside its handler -----------------------------------------
  bool accepts_output() const;
  bool want_write() const { return status_.want_write; }
  WriteSide write_side() const { return status_.write_side; }
  // From the high mark until the low mark.
  bool under_pressure() const { return status_.pressure != Pressure::low; }
  bool below_low_mark() const;
  // Writes directly to the socket, without the queue and the flush phase. Only when nothing is
  // queued for this connection and nothing else is sent to it this turn. No value: use send().
  std::optional<SendResult> send_past_queue(const SharedBytes& bytes);
  void flush_output();
  // Requests flush_output() and settle() in the flush phase of this turn.
  void settle_later();

  // Allocated on first use.
  ConnectionExtras& extras();

  // -- for a pump ---------------------------------------------------------------------------------
  // From now on `pump` reads, and `handler` gets the bytes that it reads into memory.
  void attach(Pump& pump, ConnectionHandler& handler);
  Pump* pump() const { return extras_ ? extras_->pump : nullptr; }
  Transport* transport() const { return extras_ ? extras_->transport.get() : nullptr; }
  // Reads at most `room` bytes into memory and delivers them. 0: nothing more can be read now, or
  // the input has ended.
  std::size_t read_into_memory(std::size_t room);
  std::uint64_t output_cost() const { return (output_ ? output_->cost() : 0) + waiters_cost(); }
  std::uint64_t waiters_cost() const { return extras_ ? extras_->waiters_cost() : 0; }
  // Bytes of input that may be read below max_input.
  std::size_t input_room() const;
  // Bytes that may be sent now without passing the high mark, max_output or the budget.
  std::size_t output_room();
  // Report the result of a read by the pump itself: bytes, the peer's FIN, an error.
  void note_read(std::size_t n);
  void input_ended();
  void input_failed(Errno error);
  // As if the high mark was passed: on_drained follows.
  void raise_pressure();
  // Requests a call of on_ready() in the next turn, whatever epoll reports.
  void requeue_read();
  bool may_read() const { return status_.gate.open(); }

  // -- ending -------------------------------------------------------------------------------------
  void start_close(CloseReason reason);
  // Both end it at once: reset() with a RST, finish() only if that loses output.
  void finish(CloseReason reason);
  void reset(CloseReason reason);
  void handler_threw(const char* event, const char* what);
  // Runs `fn`. If that lacks memory, the connection is reset, because its stream has a gap now.
  template <typename Fn>
  void without_throwing(Fn&& fn);

  // -- for the budget of buffered bytes -----------------------------------------------------------
  // Bytes that it holds of the budget.
  std::uint64_t charged() const { return charged_; }
  bool starved() const { return status_.gate.shut_by(ReadGate::no_budget); }
  void set_holder(bool on) { holder_ = on; }
  // Stops reading while the budget has no room for this connection; resumes when it has.
  void apply_budget();
  void read_gate_changed();
  // Whether no byte that it holds has moved for `patience`, although the peer could move it.
  bool stalled_for(Tick patience) const;
  // Ends it, because others need the memory that it holds. Never from inside its handler.
  void end_to_free_memory();

 private:
  // Input (connection_input.cc).
  bool may_deliver() const;
  std::size_t read_allowance() const;
  void read_ready();
  std::size_t read_once();
  std::size_t read_some();
  SysResult<std::size_t> receive(std::span<std::byte> into);
  SysResult<std::size_t> receive_behind_leftover(std::size_t room);
  void redeliver_leftover();
  void deliver_leftover();
  void keep_leftover(Buffer& in, const ConnectionHandler* reader);
  void check_input_bound();
  void close_after_peer();
  void redeliver_if_out_of_share();
  void end_if_drained();
  void discard_input(std::size_t n);
  void note_slack();
  void read_before_refill();
  void restart_peer_deadlines();
  void shut_gate(ReadGate::Reason reason);
  void update_interest();
  void follow_read_gate();

  // Output (connection_output.cc).
  bool output_waits() const;
  std::size_t held_outside_queue() const;
  bool admit(std::uint64_t size, bool written_at_once, SendResult& refusal);
  bool within_budget(std::uint64_t more);
  void report_over_budget();
  bool hold_producer();
  void release_producers();
  bool above_high_mark() const;
  void set_pressure(Pressure pressure);
  void lower_pressure();
  SendResult send_slowly(std::span<const std::byte> bytes, std::string* owner = nullptr);
  void write_gathered(std::span<const std::byte> gathered);
  SendResult queued_result();
  OutputQueue& output();
  void write_or_queue(std::span<const std::byte> first, std::span<const std::byte> second,
                      std::string* owner);
  void keep_unwritten(SysResult<std::size_t> result, std::span<const std::byte> first,
                      std::span<const std::byte> second, std::size_t offered, std::string* owner);
  SysResult<std::size_t> write_front(std::uint64_t most, std::uint64_t& offered);
  SysResult<std::size_t> write_queued(std::uint64_t most, std::uint64_t& offered);
  std::uint64_t write_allowance() const;
  void note_bulk_written(std::size_t n);
  void note_written(std::size_t n, Tick when);
  void output_refused();
  void output_failed(Errno error);
  void cork();
  void uncork();

  // Through a transport (connection_transport.cc).
  void continue_handshake();
  void opened_by_transport();
  void opened();
  void serve_crossed(std::uint32_t events);
  SysResult<std::size_t> receive_through(Transport& transport, std::span<std::byte> into);
  SysResult<std::size_t> write_through(Transport& transport, std::uint64_t most,
                                       std::uint64_t& offered);
  bool has_pending() const;
  SysResult<bool> send_fin();
  CloseReason failed_by(Errno error) const;

  // Deadlines (connection_deadlines.cc).
  template <typename Fn>
  void each_deadline(Fn&& fn);
  void arm_deadline();
  void check_deadlines();
  void expired(Deadline which, Tick& since);
  void timed_out(CloseReason::Kind kind, Tick& since);
  void call_on_heartbeat(Tick& since);
  Tick now() const { return core().tick(); }

  // Used by few connections (connection_extras.cc).
  void replace_handler(ConnectionHandler& handler);
  void notify_sent();
  void destroy_owned();
  void destroy_replaced();
  Tick message_limit() const;

  // Life (connection_life.cc).
  template <typename Call>
  void call_handler(const char* event, Call&& call);
  void serve(std::uint32_t events);
  void settle();
  void settle_pressure();
  void advance_close();
  bool finish_writing();
  bool backing_off() const { return status_.gate.shut_by(ReadGate::backing_off); }
  void back_off(Errno error);
  void account();
  std::uint64_t held() const;
  bool edge_triggered() const;
  bool nothing_pending() const;
  void stop_gathering();
  void check_invariants() const;

  // Constant after construction, like fd_ below.
  Channel channel_;
  ConnectionGroup* const group_;

  ConnectionHandler* handler_;
  std::unique_ptr<ConnectionExtras> extras_;
  std::unique_ptr<Buffer> input_;        // only while the handler leaves bytes
  std::unique_ptr<OutputQueue> output_;  // while the socket refuses, or until the flush phase
  std::uint64_t charged_ = 0;            // bytes charged to the group's budget: held()
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  Tick last_read_;       // when a byte was received
  Tick last_activity_;   // when a byte was sent or (updated by each_deadline()) received
  Tick write_progress_;  // when output began to wait, or the kernel took some of it
  Tick since_;           // when state_ last changed
  Tick message_since_;   // when the handler last consumed bytes of input_, or left the first ones
  std::uint32_t pauses_ = 0, holds_ = 0;
  std::uint32_t discarded_ = 0;  // bytes received after close()

  Fd fd_;
  ConnectionStatus status_;
  CloseReason reason_;          // of the close in progress, later passed to on_close
  std::uint8_t back_offs_ = 0;  // ENOBUFS and ENOMEM in a row
  State state_ = State::open;
  std::uint16_t written_kib_ = 0;       // since the last flush phase: see write_allowance()
  bool opened_ : 1 = false;             // on_open was called
  bool message_continues_ : 1 = false;  // message_continues() was called in this call of on_data
  bool observed_ : 1 = false;           // LoopIo::observers has observers of it
  bool output_lost_ : 1 = false;        // accepted output will not be sent: ends with RST
  bool holder_ : 1 = false;             // known to the group's BudgetHolders
};

// The Connection behind the TcpConnection that a handler was given.
inline Connection& machine_of(TcpConnection& connection) {
  return static_cast<Connection&>(connection);
}
inline const Connection& machine_of(const TcpConnection& connection) {
  return static_cast<const Connection&>(connection);
}

}  // namespace weir::internal
