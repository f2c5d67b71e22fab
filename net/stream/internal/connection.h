// Connection: what a TcpConnection is. That shows what programs may do with it; this is the
// machine behind it, for the floors of weir. [loop]
//
// The loop owns it: made by its ConnectionGroup, it frees itself in on_reap().
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "weir/base/fd.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/connection_flags.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/stream/transport.h"

namespace weir::internal {

class ConnectionGroup;
class RelayPair;
struct GroupTag;
struct LoopIo;

class Connection final : public TcpConnection, public LoopClient, public ListHook<GroupTag> {
 public:
  Connection(ConnectionGroup& group, Fd fd);
  ~Connection() { channel_.remove(); }  // before fd_ goes
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // As TcpConnection.
  SendResult send(std::span<const std::byte> bytes);
  SendResult send(Buffer& bytes);
  SendResult send(SharedBytes bytes);
  SendResult send_file(Fd file, std::uint64_t offset, std::uint64_t length);
  void shutdown();
  void close();
  void abort();
  void hold_open();
  void release();
  void pause_reading();
  void resume_reading();
  bool reading() const;
  void offer_again();
  void same_message_goes_on() { same_message_ = true; }
  ConnectionRef ref() const;
  EventLoop& loop() const { return channel_.loop(); }
  std::uint64_t id() const;
  State state() const { return state_; }
  SocketAddress peer_address() const { return peer_address_of(fd_.get()); }
  int fd() const { return fd_.get(); }
  std::uint64_t pending_output() const;
  void set_handler(ConnectionHandler& handler);

  struct Remove {  // from its group, and then destroys it
    void operator()(Connection* connection) const;
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
  void note_written(std::size_t n, Tick when);
  void cork();
  void uncork();

  // As one side of a relay (tcp_relay.cc).
  RelayPair& relay_pair() const;
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
  void expired(Deadline which, Tick& since);
  void out_of_time(CloseReason::Kind kind, Tick& since);
  void remind_handler(Tick& since);
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
  bool stalled_for(Tick patience) const;
  void give_up_memory();
  void tell_watchers();
  void end_watches();
  Tick now() const { return channel_.loop().tick(); }
  // For what begins to wait: now() may be as old as the callbacks of this turn took.
  static Tick clock_now();
  bool edge() const;
  bool calm() const;
  void stop_gathering();

  // Constant after construction, as fd_ below.
  Channel channel_;
  ConnectionGroup* const group_;

  ConnectionHandler* handler_;
  Transport* transport_;
  std::unique_ptr<Buffer> input_;        // only while the handler leaves bytes
  std::unique_ptr<OutputQueue> output_;  // while the kernel refuses, or until the flush phase
  std::uint64_t charged_ = 0;            // to the group's budget, for input_ and output_
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  Tick last_read_;       // a byte came
  Tick last_activity_;   // a byte went, or (as each_deadline() looks) came
  Tick write_progress_;  // output began to wait, or the kernel took some of it
  Tick since_;           // when state_ became what it is
  Tick message_since_;   // when the handler last consumed, or left, of input_
  std::uint32_t pauses_ = 0, holds_ = 0;
  std::uint32_t thrown_away_ = 0;  // bytes that came after close()

  Fd fd_;
  ConnectionFlags is_;
  CloseReason reason_;          // of the close in progress; then the one that on_close is told
  std::uint8_t back_offs_ = 0;  // ENOBUFS and kin in a row
  State state_ = State::open;
  std::uint16_t written_kib_ = 0;  // at once and by flushes, since the last flush phase
  bool same_message_ : 1 = false;  // of same_message_goes_on(), in this call of on_data
  bool watched_ : 1 = false;       // somebody in LoopIo::watchers wants to know of it
  bool output_lost_ : 1 = false;   // some that was accepted is not sent: ends with RST
  bool holder_ : 1 = false;        // known to the group's BudgetHolders
};

// The machine behind what a handler was given.
inline Connection& machine_of(TcpConnection& connection) {
  return static_cast<Connection&>(connection);
}
inline const Connection& machine_of(const TcpConnection& connection) {
  return static_cast<const Connection&>(connection);
}

}  // namespace weir::internal
