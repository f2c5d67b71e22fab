// Connection: from the socket to the handler.
//
// Bytes are read into the loop's receive block, which is lent to the handler's Buffer. Only bytes
// that the handler leaves are copied to memory of the connection, input_, which is freed when they
// are consumed.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/poison.h"
#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

namespace {

// The most that one edge-triggered connection reads in one turn before others have theirs: as much
// as a level-triggered one can read with one call, and a number of calls that keeps the turn short.
constexpr std::size_t kReadBudget = 512 * 1024;
constexpr int kMaxReadsPerTurn = 16;
// If the peer sends more after close(), the connection is reset. A peer that stops sending when our
// answer or our FIN reaches it stays far below: at that time a receive window and a send buffer are
// in flight (tcp_rmem and tcp_wmem: at most 6 and 4 MiB by default). A peer that uploads at 100
// Mbit/s until it reads the answer has the 5 s of linger_timeout for that.
constexpr std::uint32_t kMostDiscarded = 64 * 1024 * 1024;
// Limit of the calls of hold_open(), and of pause_reading(), that are not yet undone.
constexpr auto kMostCounted = std::numeric_limits<std::uint32_t>::max();

}  // namespace

// Bytes that the next read may take as far as max_input goes. A connection that is closing discards
// its input, so max_input does not count.
std::size_t Connection::input_room() const {
  if (state_ != State::open) return group_->io->receive_block.size();
  return std::min<std::uint64_t>(group_->read_at_once,
                                 remaining(group_->limits.max_input, input_ ? input_->size() : 0));
}

// As input_room(), and at most the bytes whose echo would keep the output within the high mark and
// max_output. Zero only when may_read() will be false.
std::size_t Connection::read_allowance() const {
  const std::size_t room = input_room();
  if (state_ != State::open) return room;
  const std::uint64_t waiting = pending_output() + waiters_cost();
  return std::min({std::uint64_t{room}, remaining(group_->limits.high_water, waiting),
                   remaining(group_->limits.max_output, output_cost())});
}

// Level-triggered: one read; epoll reports the rest again. Edge-triggered, and through a transport,
// which may have bytes that epoll does not know of: reads until EAGAIN, because a short read does
// not prove that nothing is left. When kReadBudget or kMaxReadsPerTurn is reached, it requests the
// next turn itself.
void Connection::read_ready() {
  if (status_.redeliver && may_deliver()) {
    redeliver_leftover();
    if (status_.redeliver) return;  // the next turn continues with input_
  }
  if (!edge_triggered() && transport() == nullptr) {
    if (may_read()) read_some();
    return;
  }
  std::size_t total = 0;
  for (int reads = 0; may_read() && !(status_.redeliver && may_deliver()); ++reads) {
    if (reads == kMaxReadsPerTurn || total >= kReadBudget) {
      requeue_read();
      return;
    }
    const std::size_t received = read_some();
    if (received == 0) return;
    total += received;
  }
}

// The peer's FIN may have been read before the handler consumed the last message.
void Connection::redeliver_leftover() {
  status_.redeliver = false;
  if (input_) deliver_leftover();
  const bool ended = state_ == State::open && status_.gate.shut_by(ReadGate::peer_ended);
  if (ended && !status_.redeliver && pauses_ == 0 && pump() == nullptr) close_after_peer();
}

// 0: nothing more can be read now, or the input has ended.
std::size_t Connection::read_some() {
  return pump() != nullptr ? pump()->read(*this) : read_once();
}

std::size_t Connection::read_once() {
  if (!input_ && !output_ && !status_.indirect) [[likely]]
    return read_into_memory(group_->read_at_once);
  apply_budget();
  return starved() ? 0 : read_into_memory(read_allowance());
}

std::size_t Connection::read_into_memory(std::size_t room) {
  if (room == 0) return 0;
  const std::span<std::byte> block = group_->io->receive_block.first(room);
  unpoison(block);
  const bool behind = input_ && state_ == State::open;
  const auto received = behind ? receive_behind_leftover(room) : receive(block);
  const std::size_t n = received.value_or(0);
  if (n == 0) {
    poison(block);  // no Buffer does it now, and a handler may have kept a view of the block
    received ? input_ended() : input_failed(received.error());
    return 0;
  }
  note_read(n);
  if (state_ != State::open) {
    discard_input(n);
  } else if (behind) {
    deliver_leftover();
  } else {
    Buffer in;
    in.lend(group_->io->receive_block, n);
    const ConnectionHandler* const reader = handler_;
    call_handler("on_data", [&] { handler_->on_data(*this, in); });
    if (!in.empty()) keep_leftover(in, reader);
  }
  return n;
}

void Connection::discard_input(std::size_t n) {
  discarded_ += static_cast<std::uint32_t>(n);  // n is the size of one read
  if (discarded_ <= kMostDiscarded) return;
  // While lingering, all output was sent, so none is lost: the reason stays that of the close.
  reset(state_ == State::lingering ? reason_ : CloseReason{Kind::input_overflow, Errno(ENOBUFS)});
}

inline SysResult<std::size_t> Connection::receive(std::span<std::byte> into) {
  if (Transport* const through = transport()) [[unlikely]]
    return receive_through(*through, into);
  return sys::recv(fd_.get(), into);
}

// Receives into the free memory behind the bytes that the handler left, and the rest into the
// receive block.
SysResult<std::size_t> Connection::receive_behind_leftover(std::size_t room) {
  const std::span<std::byte> block = group_->io->receive_block.first(room);
  const std::span<std::byte> tail = input_->free_tail();
  const std::size_t first = transport() != nullptr ? 0 : std::min(tail.size(), room);
  std::array<iovec, 2> into{};
  into[0] = {.iov_base = tail.data(), .iov_len = first};
  into[1] = {.iov_base = block.data(), .iov_len = room - first};
  auto received = first == 0 ? receive(block) : sys::recv_vectors(fd_.get(), into);
  if (received) {
    input_->commit(std::min(*received, first));
    if (*received > first) {
      const std::span<const std::byte> rest = block.first(*received - first);
      std::memcpy(input_->prepare(rest.size(), group_->limits.max_input).data(), rest.data(),
                  rest.size());
      input_->commit(rest.size());
    }
  }
  return received;
}

// `reader` left it. If on_data has replaced itself, its successor has not seen the bytes.
void Connection::keep_leftover(Buffer& in, const ConnectionHandler* reader) {
  input_ = std::make_unique<Buffer>(std::move(in));  // copies out of the block
  account();
  apply_budget();
  if (message_limit() != 0) message_since_ = clock_now();
  redeliver_if_out_of_share();
  if (handler_ != reader) status_.redeliver = true;
  check_input_bound();
}

void Connection::deliver_leftover() {
  const std::size_t offered = input_->size();
  message_continues_ = false;
  call_handler("on_data", [&] { handler_->on_data(*this, *input_); });
  if (input_->empty()) {
    input_.reset();
    account();
  } else {
    account();
    apply_budget();
    if (input_->size() < offered && !message_continues_ && message_limit() != 0) {
      message_since_ = clock_now();
    }
    note_slack();
    redeliver_if_out_of_share();
    check_input_bound();
  }
}

// The first byte of a message must not keep the memory of the messages before it. In a busy stream
// the next read usually needs that memory, so it is freed only a second later.
void Connection::note_slack() {
  if (status_.slack || state_ != State::open || !mostly_empty(*input_)) return;
  status_.slack = true;
  arm_deadline();
}

// A handler that cannot use max_input bytes cannot use more either. While it pauses reading, it has
// not decided yet.
void Connection::check_input_bound() {
  if (pauses_ == 0 && input_->size() >= group_->limits.max_input) {
    start_close({Kind::input_overflow, {}});
  }
}

void Connection::input_ended() {
  status_.gate.shut(ReadGate::peer_ended);
  if (status_.write_side == WriteSide::failed || state_ == State::lingering) {
    finish(reason_);
  } else if (state_ == State::open) {
    call_handler("on_half_close", [this] { handler_->on_half_close(*this); });
    if (status_.write_side == WriteSide::finished) {
      finish({Kind::peer_eof, {}});
    } else if (pump() == nullptr) {
      close_after_peer();
    }
  }
}

// The peer has closed its side: closes ours too, unless hold_open() says that an answer is pending.
void Connection::close_after_peer() {
  if (holds_ > 0) return;
  if (!group_->limits.allow_half_open) start_close({Kind::peer_eof, {}});
  end_if_drained();
}

// The server is stopping, and all input that had arrived was served.
void Connection::end_if_drained() {
  if (status_.draining && holds_ == 0) start_close({Kind::server_stopped, {}});
}

void Connection::hold_open() {
  core().check_thread("TcpConnection::hold_open");
  WEIR_CHECK(holds_ < kMostCounted, "TcpConnection::hold_open {} times without a release", holds_);
  ++holds_;
}

// Input that the handler left is delivered once more before the connection closes after the peer: a
// handler that takes messages one by one, each answered from elsewhere, calls hold_open() for each.
void Connection::release() {
  core().check_thread("TcpConnection::release");
  WEIR_CHECK(holds_ > 0, "TcpConnection::release without a hold_open before it");
  if (--holds_ > 0 || state_ != State::open) return;
  restart_peer_deadlines();
  if (status_.gate.shut_by(ReadGate::peer_ended)) {
    if (input_ && pauses_ == 0) {
      status_.redeliver = true;
    } else if (pump() == nullptr) {
      close_after_peer();
    } else {
      end_if_drained();
    }
  }
  read_gate_changed();
}

void Connection::input_failed(Errno error) {
  if (error == EAGAIN) {
    // A transport that wants to write first may have more to deliver.
    if (!status_.indirect || !extras_->read_wants_write) end_if_drained();
    if (status_.write_side == WriteSide::failed) finish(reason_);
    return;
  }
  if (error.is_memory()) {
    back_off(error);
    return;
  }
  if (status_.write_side == WriteSide::failed || state_ == State::lingering) {
    finish(reason_);  // all was sent, or the error is known already
  } else {
    finish(failed_by(error));
  }
}

// The edge that reported an error may have been consumed while the gate was shut, so EPOLLERR is
// requested too.
void Connection::requeue_read() {
  core().requeue(channel_, edge_triggered() ? EPOLLIN | EPOLLERR : EPOLLIN);
}

void Connection::pause_reading() {
  core().check_thread("TcpConnection::pause_reading");
  WEIR_CHECK(pauses_ < kMostCounted, "TcpConnection::pause_reading {} times without a resume",
             pauses_);
  if (++pauses_ > 1) return;
  // Without reading, the end of a connection with a failed output would not be found. A pump first
  // passes on the bytes that came before.
  if (status_.write_side == WriteSide::failed && pump() == nullptr) finish(reason_);
  shut_gate(ReadGate::paused);
  read_gate_changed();
}

void Connection::resume_reading() {
  core().check_thread("TcpConnection::resume_reading");
  WEIR_CHECK(pauses_ > 0, "TcpConnection::resume_reading without a pause_reading before it");
  if (--pauses_ > 0 || state_ != State::open) return;
  status_.gate.lift(ReadGate::paused);
  restart_peer_deadlines();
  if (input_ || peer_half_closed()) status_.redeliver = true;
  read_gate_changed();
}

bool Connection::reading() const {
  if (state_ != State::open || !may_deliver()) return false;
  LoopIo& io = *group_->io;
  if (io.running != this || !core().share_spent()) return true;
  io.out_of_share = this;
  return false;
}

// Called after on_data has left bytes: if its share of the turn was spent, they are delivered again
// in the next turn.
void Connection::redeliver_if_out_of_share() {
  if (std::exchange(group_->io->out_of_share, nullptr) == this) status_.redeliver = true;
}

void Connection::message_continues() {
  core().check_thread("TcpConnection::message_continues");
  message_continues_ = true;
}

void Connection::redeliver_input() {
  core().check_thread("TcpConnection::redeliver_input");
  if (state_ != State::open) return;
  status_.redeliver = true;
  read_gate_changed();
}

// --- the read gate -------------------------------------------------------------------------------

// Whether the handler may get the input that it left: also while the socket is not read because the
// budget is spent or the peer's FIN was read.
bool Connection::may_deliver() const {
  return state_ == State::open &&
         status_.gate.open_but_for(ReadGate::no_budget | ReadGate::peer_ended);
}

// Adds a reason not to read. A connection that is closing discards its input, so only an end or an
// error stops its reads. A pump's reads add nothing to the output of this connection, so only
// `paused` stops them.
void Connection::shut_gate(ReadGate::Reason reason) {
  if (state_ != State::open) return;
  if (pump() != nullptr && reason != ReadGate::paused) return;
  status_.gate.shut(reason);
}

// A closed connection may still get this call: it stays in its group's list until the reap phase.
void Connection::update_interest() {
  if (edge_triggered() || state_ == State::closed) return;
  bool reads = may_read();
  bool writes = status_.want_write;
  if (state_ == State::opening) {
    writes = extras_->handshake_wants_write;
    reads = !writes;
  } else if (status_.indirect) {
    writes = (writes && !extras_->write_wants_read) || (reads && extras_->read_wants_write);
    reads = (reads && !extras_->read_wants_write) || extras_->write_wants_read;
  }
  channel_.set_reading(reads);
  channel_.set_writing(writes);
}

// The gate, or the request to deliver input again, has changed. While the connection's own handler
// runs, nothing is done here: settle() follows.
void Connection::read_gate_changed() {
  if (group_->io->running != this && state_ != State::closed) follow_read_gate();
}

// Does everything that follows from the gate, whatever has changed it. When the gate opens, the
// deadlines of the peer restart, and a read is requested if edge-triggered epoll may have reported
// the input while the gate was shut. Epoll does not report input_ that the handler is to get again,
// nor that all arrived input was read (of a failed output or a draining server), so a read is
// requested for those as well.
void Connection::follow_read_gate() {
  update_interest();
  const bool opened = status_.gate.take_opened();
  if (opened) {
    message_since_ = last_read_ = clock_now();
    arm_deadline();
  }
  const bool to_the_end =
      status_.write_side == WriteSide::failed || (status_.draining && holds_ == 0);
  const bool unreported = edge_triggered() || has_pending();
  if ((opened && unreported) || (may_read() && to_the_end) ||
      (status_.redeliver && may_deliver())) {
    requeue_read();
  }
}

}  // namespace weir::internal
