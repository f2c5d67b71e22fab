// Connection: from the socket to the handler.
//
// Bytes are read into the loop's receive block, which is lent to the handler's Buffer. Only what
// the handler leaves is copied to memory of the connection's own, input_, which goes when it is
// consumed.
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

namespace weir::internal {

using Kind = CloseReason::Kind;

namespace {

// What one edge-triggered connection may read before others have their turn: as much as a
// level-triggered one can with one call, or as many calls as keep a turn short.
constexpr std::size_t kReadBudget = 512 * 1024;
constexpr int kMaxReadsPerTurn = 16;
// A peer that sends more after close() is reset. A well-behaved one that stops when our answer, or
// our FIN, reaches it does not come near: what is under way by then is a receive window and a send
// buffer (tcp_rmem, tcp_wmem: 6 and 4 MiB at most by default). And one that uploads at 100 Mbit/s
// while it looks for the answer has the 5 s of linger_timeout to find it.
constexpr std::uint32_t kMostThrownAway = 64 * 1024 * 1024;
// Calls of hold_open() and pause_reading() that may wait for their counterpart.
constexpr auto kMostCounted = std::numeric_limits<std::uint32_t>::max();

bool transient(Errno error) { return error == ENOBUFS || error == ENOMEM; }

}  // namespace

// No more than the input's bound leaves room for, and no more than an echo of it could add to the
// output without passing the high mark or max_output. Zero only when may_read() will be false.
std::size_t Connection::read_allowance() const {
  if (state_ != State::open) return group_->io->receive_block.size();
  const auto left = [](std::uint64_t bound, std::uint64_t used) {
    return used < bound ? bound - used : 0;
  };
  const ConnectionLimits& limits = group_->limits;
  return std::min({std::uint64_t{group_->read_at_once},
                   left(limits.max_input, input_ ? input_->size() : 0),
                   left(limits.high_water, output_ && !is_.relayed ? output_->size() : 0),
                   left(limits.max_output, output_ && !is_.relayed ? output_->cost() : 0)});
}

// Level-triggered: one read; what is left is reported again. Edge-triggered: to EAGAIN, because a
// short read does not prove that nothing is left; a spent budget asks for the next turn itself.
void Connection::read_ready() {
  if (is_.offer_input && may_offer()) {
    is_.offer_input = false;
    if (input_ && state_ == State::open) deliver_leftover();
    if (is_.offer_input) return;  // the next turn goes on with what is there
  }
  if (!edge()) {
    if (may_read()) is_.relayed ? read_relayed() : read_once();
    return;
  }
  std::size_t total = 0;
  for (int reads = 0; may_read() && !is_.offer_input; ++reads) {
    if (reads == kMaxReadsPerTurn || total >= kReadBudget) {
      want_read_again();
      return;
    }
    const std::size_t received = is_.relayed ? read_relayed() : read_once();
    if (received == 0) return;
    total += received;
  }
}

// Reads and delivers. 0: there is nothing more for now, or it is over.
std::size_t Connection::read_once() {
  std::size_t room = group_->read_at_once;
  if (input_ || output_) {
    apply_budget();
    room = is_.starved ? 0 : read_allowance();
    if (room == 0) return 0;
  }
  const std::span<std::byte> block = group_->io->receive_block.first(room);
  unpoison(block);
  const auto received = input_ && state_ == State::open ? receive_behind_leftover(room)
                                                        : transport_->read(fd_.get(), block);
  if (!received) {
    input_failed(received.error());
    return 0;
  }
  const std::size_t n = *received;
  if (n == 0) {
    input_ended();
    return 0;
  }
  note_read(n);
  if (state_ != State::open) {
    throw_away(n);
    return n;
  }
  if (input_) {
    deliver_leftover();
    return n;
  }
  Buffer in;
  in.lend(group_->io->receive_block, n);
  call_handler("on_data", [&] { handler_->on_data(*this, in); });
  if (!in.empty()) keep_leftover(in);
  return n;
}

void Connection::throw_away(std::size_t n) {
  thrown_away_ += static_cast<std::uint32_t>(n);  // n is one read's
  if (thrown_away_ <= kMostThrownAway) return;
  // Of what is ours nothing is lost once it was sent; the reason is that of the close then.
  reset(state_ == State::lingering ? reason_ : CloseReason{Kind::input_overflow, Errno(ENOBUFS)});
}

// Into what is free behind the bytes that the handler left, and then into the receive block.
SysResult<std::size_t> Connection::receive_behind_leftover(std::size_t room) {
  const std::span<std::byte> block = group_->io->receive_block.first(room);
  const std::span<std::byte> tail = input_->free_tail();
  const std::size_t first = std::min(tail.size(), room);
  std::array<iovec, 2> into{};
  into[0] = {.iov_base = tail.data(), .iov_len = first};
  into[1] = {.iov_base = block.data(), .iov_len = room - first};
  auto received = transport_->read_vectors(fd_.get(), into);
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

void Connection::keep_leftover(Buffer& in) {
  input_ = std::make_unique<Buffer>(std::move(in));  // copies out of the block
  account();
  apply_budget();
  if (group_->limits.message != 0) message_since_ = clock_now();
  offer_if_out_of_share();
  check_input_bound();
}

void Connection::deliver_leftover() {
  const std::size_t offered = input_->size();
  same_message_ = false;
  call_handler("on_data", [&] { handler_->on_data(*this, *input_); });
  if (input_->empty()) {
    input_.reset();
    account();
  } else {
    account();
    apply_budget();
    if (input_->size() < offered && !same_message_ && group_->limits.message != 0) {
      message_since_ = clock_now();
    }
    note_slack();
    offer_if_out_of_share();
    check_input_bound();
  }
}

// The first byte of a message must not keep the memory of those before it. In a busy stream the
// next read mostly needs it, so it is given back only a second later.
void Connection::note_slack() {
  if (is_.slack || state_ != State::open || !mostly_empty(*input_)) return;
  is_.slack = true;
  arm_deadline();
}

// A handler that can do nothing with so much will not get further with more. One that paused
// reading is only late.
void Connection::check_input_bound() {
  if (pauses_ == 0 && !is_.relayed && input_->size() >= group_->limits.max_input) {
    start_close({Kind::input_overflow, {}});
  }
}

void Connection::input_ended() {
  is_.read_eof = true;
  if (is_.write_failed) {
    finish(reason_);
  } else if (state_ == State::lingering) {
    finish(reason_);
  } else if (state_ == State::open) {
    call_handler("on_half_close", [this] { handler_->on_half_close(*this); });
    if (is_.write_shut) {
      finish({Kind::peer_eof, {}});
    } else {
      follow_peer();
      if (!is_.relayed) end_if_drained();
    }
  }
}

// The peer has closed its side, and we ours, unless an answer is still to come.
void Connection::follow_peer() {
  if (holds_ == 0 && !group_->limits.allow_half_open && !is_.relayed) {
    start_close({Kind::peer_eof, {}});
  }
}

// The server is stopping, and all that had arrived here was served.
void Connection::end_if_drained() {
  if (is_.draining && holds_ == 0) start_close({Kind::server_stopped, {}});
}

void Connection::hold_open() {
  loop().check_thread("TcpConnection::hold_open");
  WEIR_CHECK(holds_ < kMostCounted, "TcpConnection::hold_open {} times without a release", holds_);
  ++holds_;
}

void Connection::release() {
  loop().check_thread("TcpConnection::release");
  WEIR_CHECK(holds_ > 0, "TcpConnection::release without a hold_open before it");
  if (--holds_ > 0 || state_ != State::open) return;
  peers_turn();
  if (is_.read_eof) {
    follow_peer();
    end_if_drained();
  }
  read_gate_changed();
}

void Connection::input_failed(Errno error) {
  if (error == EAGAIN) {
    end_if_drained();
    if (is_.write_failed) finish(reason_);
    return;
  }
  if (transient(error)) {
    back_off(error);
    return;
  }
  if (is_.write_failed || state_ == State::lingering) {
    finish(reason_);  // we were done, or knew already
  } else {
    finish({error == ECONNRESET || error == EPIPE ? Kind::reset : Kind::io_error, error});
  }
}

// An edge that told of an error may be spent before reading gets there, and reading may rest by
// then: it is asked for again.
void Connection::want_read_again() {
  loop().requeue(channel_, edge() ? EPOLLIN | EPOLLERR : EPOLLIN);
}

void Connection::pause_reading() {
  loop().check_thread("TcpConnection::pause_reading");
  WEIR_CHECK(pauses_ < kMostCounted, "TcpConnection::pause_reading {} times without a resume",
             pauses_);
  ++pauses_;
  if (is_.write_failed && !is_.relayed) finish(reason_);  // or its end would not be found
  read_gate_changed();
}

void Connection::resume_reading() {
  loop().check_thread("TcpConnection::resume_reading");
  WEIR_CHECK(pauses_ > 0, "TcpConnection::resume_reading without a pause_reading before it");
  if (--pauses_ > 0 || state_ != State::open) return;
  peers_turn();
  if (input_) is_.offer_input = true;
  read_gate_changed();
}

bool Connection::reading() const {
  if (state_ != State::open || !may_offer()) return false;
  LoopIo& io = *group_->io;
  if (io.running != this || !loop().share_spent()) return true;
  io.out_of_share = this;
  return false;
}

// Asked after on_data has left something: whether its share of the turn was spent, so that the rest
// follows in the next one.
void Connection::offer_if_out_of_share() {
  if (std::exchange(group_->io->out_of_share, nullptr) == this) is_.offer_input = true;
}

void Connection::offer_again() {
  loop().check_thread("TcpConnection::offer_again");
  if (state_ != State::open) return;
  is_.offer_input = true;
  read_gate_changed();
}

}  // namespace weir::internal
