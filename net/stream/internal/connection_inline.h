// Inline functions of Connection that its sources share, most of them on the path of every message.
// Internal. [loop]
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <span>

#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/connection_group.h"
#include "weir/net/stream/internal/pump.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

// The part of a bound that is not used.
inline std::uint64_t remaining(std::uint64_t bound, std::uint64_t used) {
  return used < bound ? bound - used : 0;
}

// Reads the beginning of a range of a file, as much as `piece` holds. 0: the file ends before it.
inline SysResult<std::size_t> read_piece(int file, std::uint64_t offset, std::uint64_t length,
                                         std::span<std::byte> piece) {
  return sys::pread(file, piece.first(std::min<std::uint64_t>(length, piece.size())), offset);
}

// Whether the buffer keeps much more memory than its bytes need.
inline bool mostly_empty(const Buffer& input) {
  return input.capacity() > Buffer::kKeptCapacity && input.size() < input.capacity() / 4;
}

// The current time, for a wait that begins now: now() is the time at which this turn began.
inline Tick clock_now() { return tick_of(sys::now()); }

inline bool Connection::edge_triggered() const { return group_->trigger == Trigger::edge; }

inline bool Connection::accepts_output() const {
  return state_ == State::open && status_.write_side == WriteSide::open;
}

// Open and reading, with no output buffered and nothing pending: the state after most messages.
inline bool Connection::nothing_pending() const {
  return status_.ordinary() && state_ == State::open && !output_ && channel_.reading();
}

// Calls the handler, gathers the bytes that it sends, and ends the connection if an exception
// leaves it.
template <typename Call>
void Connection::call_handler(const char* event, Call&& call) {
  if (handler_ == nullptr) return;  // the server is gone
  cork();
  try {
    call();
  } catch (const std::exception& thrown) {
    handler_threw(event, thrown.what());
  } catch (...) {
    handler_threw(event, "not a std::exception");
  }
  uncork();
}

// call_handler() catches exceptions of handlers. The only other one is bad_alloc for a buffer.
template <typename Fn>
void Connection::without_throwing(Fn&& fn) {
  try {
    fn();
  } catch (const std::bad_alloc&) {
    reset({CloseReason::Kind::io_error, Errno(ENOMEM)});
  }
}

inline void Connection::cork() {
  LoopIo& io = *group_->io;
  io.running = this;
  if (output_ || !accepts_output()) return;
  io.corked = this;
  io.gather_limit = group_->gather_at_once;
}

inline void Connection::uncork() {
  LoopIo& io = *group_->io;
  io.running = nullptr;
  if (io.corked != this) return;
  io.corked = nullptr;
  if (io.gathered > 0) write_gathered(io.take_gathered());
}

// The memory that counts for the budget. A closed connection frees all of it before the turn ends.
inline std::uint64_t Connection::held() const {
  if (state_ == State::closed) return 0;
  return output_cost() + (input_ ? input_->capacity() : 0) +
         (transport() != nullptr ? transport()->held() : 0);
}

// Reports the buffered memory to the budget. O(1), and no work if it has not changed.
inline void Connection::account() {
  const std::uint64_t holds = held();
  if (holds == charged_) return;
  const bool gives_back = holds < charged_;
  group_->budget.change(charged_, holds);
  charged_ = holds;
  if (holder_ && holds == 0) {
    group_->holders.update(*this);
  } else if (!holder_ && holds >= BufferBudget::kOwnShare) {
    group_->holders.add(*this);
  }
  if (gives_back) group_->holders.released();
}

inline Tick Connection::message_limit() const {
  return extras_ ? extras_->message : group_->limits.message;
}

inline void Connection::note_read(std::size_t n) {
  last_read_ = now();
  back_offs_ = 0;
  bytes_in_ += n;
  group_->bytes_in.add(n);
}

// Bytes accepted by send() that are neither in output_ nor taken by the kernel: a transport or a
// pump holds them.
inline std::size_t Connection::held_outside_queue() const {
  if (!extras_) return 0;
  const bool sends = extras_->transport && status_.write_side != WriteSide::failed;
  return (sends ? extras_->transport->held() : 0) +
         (extras_->pump != nullptr ? extras_->pump->held(*this) : 0);
}

inline bool Connection::output_waits() const {
  return (output_ && !output_->empty()) || held_outside_queue() > 0;
}

inline void Connection::note_written(std::size_t n, Tick when) {
  bytes_out_ += n;
  group_->bytes_out.add(n);
  last_activity_ = write_progress_ = when;
  back_offs_ = 0;
}

}  // namespace weir::internal
