// Connection: from send() to the socket.
//
// While the connection's own handler runs, small sends are gathered in the loop's gather block and
// written together when it returns. Other sends wait in output_ for the flush phase of the turn.
// Bytes that the socket refuses stay in output_ until EPOLLOUT. The order of the bytes is kept,
// because the gather block is used only while there is no output_.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "weir/base/aligned_bytes.h"
#include "weir/base/call_all.h"
#include "weir/base/log_line.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

namespace {

// A send of this size or more is written at once: copying it would cost more than the saved call.
constexpr std::size_t kWriteAtOnce = 16 * 1024;
// Queued output of this size is flushed at once, which keeps memory low.
constexpr std::uint64_t kFlushAtOnce = 256 * 1024;
// The most that one connection writes in one turn before others have theirs: bytes on all paths
// together, except those in the gather block; and system calls of one flush.
constexpr std::uint64_t kWriteBudget = 1024 * 1024;
constexpr int kMaxWritesPerFlush = 16;
// Vectors in each of these calls.
constexpr std::size_t kVectorsPerWrite = 64;
// This number of waiting files counts as the high mark, half of it as the low mark.
constexpr std::size_t kManyFiles = 16;
// Size of the pieces in which a file is read and sent if sendfile(2) does not work. On the stack.
constexpr std::size_t kFilePiece = 64 * 1024;

// Errors of a file system without sendfile(2), or without it for this file, and of a kernel or a
// seccomp filter without the call. Nothing was sent then.
bool sendfile_unsupported(Errno error) {
  return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
}

SysResult<std::size_t> read_and_send(int fd, int file, std::uint64_t offset, std::uint64_t length) {
  alignas(kCacheLine) std::array<std::byte, kFilePiece> piece;
  const auto got = read_piece(file, offset, length, piece);
  if (!got || *got == 0) return got;
  return sys::send(fd, std::span(piece).first(*got));
}

SysResult<std::size_t> send_file_piece(int fd, int file, std::uint64_t offset,
                                       std::uint64_t length) {
  auto sent = sys::sendfile(fd, file, offset, length);
  if (!sent && sendfile_unsupported(sent.error())) return read_and_send(fd, file, offset, length);
  return sent;
}

// Appends `bytes` from `from` on; `from` is 0 unless the queue is empty. Takes ownership of
// `owner`.
void append_rest(OutputQueue& queue, std::span<const std::byte> bytes, std::size_t from,
                 std::string* owner) {
  if (owner == nullptr) {
    queue.append(bytes.subspan(from));
  } else {
    queue.append(std::move(*owner));
    queue.consume(from);
  }
}

}  // namespace

std::uint64_t Connection::pending_output() const {
  const LoopIo& io = *group_->io;
  return (output_ ? output_->size() : 0) + (io.corked == this ? io.gathered : 0) +
         held_outside_queue();
}

SendResult Connection::send(std::span<const std::byte> bytes) {
  core().check_thread("TcpConnection::send");
  LoopIo& io = *group_->io;
  if (io.corked == this && !bytes.empty() && bytes.size() < kWriteAtOnce &&
      io.gathered + bytes.size() <= io.gather_limit) [[likely]] {
    std::memcpy(io.gather.get() + io.gathered, bytes.data(), bytes.size());
    io.gathered += bytes.size();
    return SendResult::queued;
  }
  return send_slowly(bytes);
}

// A short string is copied like any other bytes: that costs less than keeping it.
SendResult Connection::send(std::string&& bytes) {
  const auto view = std::as_bytes(std::span(bytes));
  if (view.size() < kWriteAtOnce) return send(view);
  core().check_thread("TcpConnection::send");
  return send_slowly(view, &bytes);
}

SendResult Connection::send(SharedBytes bytes) {
  core().check_thread("TcpConnection::send");
  if (!accepts_output()) return SendResult::closed;
  SendResult refusal = SendResult::queued;
  if (!admit(bytes.size(), false, refusal)) return refusal;
  without_throwing([&] {
    output().append(std::move(bytes));
    settle_later();
    if (output_->size() >= kFlushAtOnce && !status_.want_write) flush_output();
  });
  return queued_result();
}

std::optional<SendResult> Connection::send_past_queue(const SharedBytes& bytes) {
  if (!nothing_pending() || group_->io->corked == this || bytes.size() > write_allowance()) {
    return std::nullopt;
  }
  const auto written = sys::send(fd_.get(), bytes.bytes());
  if (!written) {
    if (!(written.error() == EAGAIN) && !written.error().is_memory())
      output_failed(written.error());
    return std::nullopt;
  }
  note_bulk_written(*written);
  if (*written == bytes.size()) [[likely]]
    return SendResult::queued;
  without_throwing([&] {
    output().append(bytes);
    output_->consume(*written);
    flush_output();
    settle_later();
  });
  return queued_result();
}

SendResult Connection::send_file(Fd file, std::uint64_t offset, std::uint64_t length) {
  core().check_thread("TcpConnection::send_file");
  if (!accepts_output()) return SendResult::closed;
  without_throwing([&] {
    // A file takes no memory that counts for max_output.
    output().append_file(std::move(file), offset, length);
    settle_later();
  });
  return queued_result();
}

// The general case. `owner`, unless it is null, holds the bytes and is moved from, so that they are
// not copied.
SendResult Connection::send_slowly(std::span<const std::byte> bytes, std::string* owner) {
  if (!accepts_output()) return SendResult::closed;
  if (bytes.empty()) return queued_result();
  SendResult refusal = SendResult::queued;
  LoopIo& io = *group_->io;
  const bool at_once =
      !output_ && (io.corked == this || bytes.size() >= kWriteAtOnce) && write_allowance() > 0;
  if (!admit(bytes.size(), at_once && !backing_off(), refusal)) return refusal;
  without_throwing([&] {
    if (at_once) {
      write_or_queue(io.corked == this ? io.take_gathered() : std::span<const std::byte>(), bytes,
                     owner);
      account();
      if (output_ && group_->limits.overflow == Overflow::close && pump() == nullptr &&
          !within_budget(0)) {
        report_over_budget();
        reset({Kind::output_overflow, Errno(ENOMEM)});
      }
    } else {
      append_rest(output(), bytes, 0, owner);
      if (output_->size() >= kFlushAtOnce && !status_.want_write) flush_output();
    }
    settle_later();
  });
  return queued_result();
}

// The marks limit bytes. The memory that holds them counts too if it reaches max_output, which
// happens earlier with very many tiny pieces; and so do waiting files, each of which is a
// descriptor.
bool Connection::above_high_mark() const {
  const ConnectionLimits& limits = group_->limits;
  return pending_output() + waiters_cost() >= limits.high_water ||
         output_cost() >= limits.max_output || (output_ && output_->files() >= kManyFiles) ||
         (pump() != nullptr && pump()->full(*this));
}

bool Connection::below_low_mark() const {
  const ConnectionLimits& limits = group_->limits;
  return pending_output() + waiters_cost() <= limits.high_water / 2 &&
         output_cost() <= limits.max_output / 2 &&
         (!output_ || output_->files() <= kManyFiles / 2) &&
         (pump() == nullptr || pump()->drained(*this));
}

SendResult Connection::queued_result() {
  account();
  if (!accepts_output()) return SendResult::closed;
  if (!above_high_mark()) return SendResult::queued;
  raise_pressure();
  return SendResult::above_high_mark;
}

void Connection::raise_pressure() {
  if (status_.pressure == Pressure::low) set_pressure(Pressure::high);
}

void Connection::set_pressure(Pressure pressure) {
  status_.pressure = pressure;
  if (pressure == Pressure::low) {
    status_.gate.lift(ReadGate::output_high);
  } else {
    shut_gate(ReadGate::output_high);
  }
}

// Whether `size` more bytes may wait: at most max_output in all, except for one message when
// nothing else waits, because its sender has it in memory anyway. If not, does what Overflow says,
// and sets `refusal` to the result of the send. Bytes that the socket takes at once do not need the
// budget.
bool Connection::admit(std::uint64_t size, bool written_at_once, SendResult& refusal) {
  const ConnectionLimits& limits = group_->limits;
  const LoopIo& io = *group_->io;
  const std::uint64_t held = output_cost() + (io.corked == this ? io.gathered : 0);
  const bool fits =
      !output_waits() || (held <= limits.max_output && size <= limits.max_output - held);
  if (fits && (written_at_once || pump() != nullptr || within_budget(size))) return true;
  if (fits) report_over_budget();
  switch (limits.overflow) {
    case Overflow::close:
      reset({Kind::output_overflow, Errno(fits ? ENOMEM : ENOBUFS)});
      refusal = SendResult::closed;
      return false;
    case Overflow::drop:
      break;
    case Overflow::pause:
      if (hold_producer()) return true;
      break;
  }
  refusal = SendResult::dropped;
  return false;
}

bool Connection::hold_producer() {
  LoopIo& io = *group_->io;
  Connection* producer = io.running;
  if (producer == nullptr || producer->state_ == State::closed) return false;
  if (producer == this) return true;  // its own high mark stops it already
  const auto [held, is_new] =
      io.held_producers.try_emplace({id(), producer->id()}, producer->ref());
  if (!is_new) return true;
  status_.holds_producers = true;
  raise_pressure();  // so that settle() resumes them
  producer->pause_reading();
  return true;
}

void Connection::release_producers() {
  if (!status_.holds_producers) return;
  status_.holds_producers = false;
  auto& held = group_->io->held_producers;
  CallAll all;
  const auto next = [&] { return held.lower_bound({id(), 0}); };
  for (auto first = next(); first != held.end() && first->first.first == id(); first = next()) {
    const auto entry = held.extract(first);
    if (TcpConnection* producer = entry.mapped().get()) {
      all([producer] { producer->resume_reading(); });
    }
  }
  all.rethrow_first();
}

OutputQueue& Connection::output() {
  if (!output_) {
    LoopIo& io = *group_->io;
    output_ = io.take_queue();
    if (io.corked == this) {  // the gathered bytes come first
      output_->append(io.take_gathered());
      io.corked = nullptr;
    }
  }
  return *output_;
}

// Usually the socket takes all of it.
void Connection::write_gathered(std::span<const std::byte> gathered) {
  if (state_ == State::closed || status_.write_side == WriteSide::failed) return;
  if (backing_off() || transport() != nullptr) {
    output().append(gathered);
    flush_output();
    return;
  }
  const auto written = sys::send(fd_.get(), gathered);
  if (written && *written == gathered.size()) [[likely]] {
    note_written(*written, now());
  } else {
    keep_unwritten(written, gathered, {}, gathered.size(), nullptr);
  }
}

// The same for two pieces, of which the first may be empty. Of the second, only as many bytes are
// offered to the socket as write_allowance() permits.
void Connection::write_or_queue(std::span<const std::byte> first, std::span<const std::byte> second,
                                std::string* owner) {
  if (backing_off() || transport() != nullptr) {
    output().append(first);
    append_rest(output(), second, 0, owner);
    flush_output();
    return;
  }
  const std::uint64_t allowed = write_allowance();
  const std::size_t some = std::min<std::uint64_t>(
      second.size(), allowed - std::min<std::uint64_t>(allowed, first.size()));
  const std::size_t offered = first.size() + some;
  if (first.empty()) {
    keep_unwritten(sys::send(fd_.get(), second.first(some)), first, second, offered, owner);
    return;
  }
  std::array<iovec, 2> both{};
  both[0] = {.iov_base = const_cast<std::byte*>(first.data()), .iov_len = first.size()};
  both[1] = {.iov_base = const_cast<std::byte*>(second.data()), .iov_len = some};
  keep_unwritten(sys::send_vectors(fd_.get(), both), first, second, offered, owner);
}

// Handles the result of a write that offered the first `offered` bytes of `first` and `second`
// while nothing else waited: queues the rest.
void Connection::keep_unwritten(SysResult<std::size_t> result, std::span<const std::byte> first,
                                std::span<const std::byte> second, std::size_t offered,
                                std::string* owner) {
  std::size_t written = 0;
  if (result) {
    written = *result;
    note_bulk_written(written);
    if (written == first.size() + second.size()) return;
  } else if (result.error().is_memory()) {
    back_off(result.error());
    if (state_ == State::closed) {
      output_lost_ = true;
      return;
    }
  } else if (!(result.error() == EAGAIN)) {
    output_failed(result.error());
    return;
  }
  OutputQueue& queue = output();
  if (written < first.size()) queue.append(first.subspan(written));
  append_rest(queue, second, written > first.size() ? written - first.size() : 0, owner);
  if (backing_off()) return;
  if (written == offered) {
    settle_later();  // the socket may take more, in the next turn
  } else if (edge_triggered()) {
    // A short write does not prove that the socket is full, and only EAGAIN arms the next edge.
    flush_output();
  } else {
    output_refused();
  }
}

// The bytes that this connection may still write in this turn.
std::uint64_t Connection::write_allowance() const {
  return kWriteBudget - std::min(kWriteBudget, std::uint64_t{written_kib_} * 1024);
}

void Connection::note_bulk_written(std::size_t n) {
  note_written(n, core().tick_or_clock());
  constexpr std::size_t kMost = std::numeric_limits<std::uint16_t>::max();
  written_kib_ = static_cast<std::uint16_t>(std::min(kMost, written_kib_ + (n + 1023) / 1024));
}

// Writes waiting output, as far as the socket takes it and write_allowance() permits; the next
// flush phase continues with the rest. Calls no handler: settle() does.
void Connection::flush_output() {
  if (state_ == State::closed || status_.write_side == WriteSide::failed || backing_off()) return;
  for (int writes = 0; output_waits(); ++writes) {
    if (writes == kMaxWritesPerFlush) written_kib_ = std::numeric_limits<std::uint16_t>::max();
    const std::uint64_t allowed = write_allowance();
    if (allowed == 0) {
      settle_later();
      return;
    }
    std::uint64_t offered = 0;
    const auto written = write_front(allowed, offered);
    if (!written) {
      if (written.error() == EAGAIN) {
        output_refused();
      } else if (written.error().is_memory()) {
        back_off(written.error());
      } else {
        output_failed(written.error());
      }
      return;
    }
    note_bulk_written(*written);
    if (status_.want_write) write_progress_ = clock_now();
    if (*written < offered && !edge_triggered()) {
      output_refused();
      return;
    }
  }
  if (status_.want_write) {
    status_.want_write = false;
    if (group_->limits.heartbeat != 0) arm_deadline();  // it did not run meanwhile
  }
  if (output_) group_->io->give_back(std::move(output_));
}

// Writes at most `most` bytes of the front of the waiting output with one system call. (A pump
// holds less than a turn allows, and is written whole.) `offered`: the bytes that the call could
// have taken.
SysResult<std::size_t> Connection::write_front(std::uint64_t most, std::uint64_t& offered) {
  if (Transport* const through = transport()) return write_through(*through, most, offered);
  if (!output_ || output_->empty()) {
    Pump& pumped = *extras_->pump;  // not null, because output waits
    offered = pumped.held(*this);
    const auto moved = pumped.write(*this);
    if (moved && *moved == 0) return std::unexpected(Errno(EIO));
    return moved;
  }
  auto written = write_queued(most, offered);
  if (written) output_->consume(*written);
  return written;
}

SysResult<std::size_t> Connection::write_queued(std::uint64_t most, std::uint64_t& offered) {
  std::array<iovec, kVectorsPerWrite> vectors;
  const std::size_t filled = output_->fill(vectors);
  if (filled > 0) {
    std::size_t count = 0;
    for (; count < filled && offered < most; ++count) {
      std::size_t& length = vectors[count].iov_len;
      length = std::min<std::uint64_t>(length, most - offered);
      offered += length;
    }
    return count == 1 ? sys::send(fd_.get(), {static_cast<const std::byte*>(vectors[0].iov_base),
                                              vectors[0].iov_len})
                      : sys::send_vectors(fd_.get(), std::span(vectors).first(count));
  }
  const OutputQueue::FileRange file = output_->front_file();
  offered = std::min(file.length, most);
  auto sent = send_file_piece(fd_.get(), file.fd, file.offset, offered);
  if (sent && *sent == 0) return std::unexpected(Errno(EIO));  // the file ended before the range
  return sent;
}

// EPOLLOUT is wanted exactly from here until the queue is empty.
void Connection::output_refused() {
  if (status_.want_write) return;
  status_.want_write = true;
  write_progress_ = clock_now();
  arm_deadline();
  update_interest();
}

// A send failed. EPIPE and ECONNRESET end only the output, because input that the peer sent before
// must still be delivered: reading finds the end, and reason_ keeps the first errno. If the input
// is not read, or the error is another one, the connection ends now.
void Connection::output_failed(Errno error) {
  output_lost_ = true;
  const bool reset_by_peer = error == EPIPE || error == ECONNRESET;
  CloseReason reason = failed_by(error);
  if (status_.write_side == WriteSide::failed) reason = reason_;
  constexpr unsigned kWillBeRead = ReadGate::output_high | ReadGate::backing_off;
  if (!reset_by_peer || state_ != State::open || !status_.gate.open_but_for(kWillBeRead)) {
    finish(reason);
    return;
  }
  stop_gathering();
  status_.write_side = WriteSide::failed;
  status_.want_write = status_.refilled = false;
  set_pressure(Pressure::low);
  reason_ = reason;
  output_.reset();
  if (pump() != nullptr) pump()->discard(*this);
  read_gate_changed();
}

// The bytes that may still wait below the high mark, max_output and the budget.
std::size_t Connection::output_room() {
  const ConnectionLimits& limits = group_->limits;
  const std::uint64_t cost = output_cost();
  const std::uint64_t waiting = pending_output() + waiters_cost();
  const std::uint64_t room =
      std::min(remaining(limits.high_water, waiting), remaining(limits.max_output, cost));
  if (within_budget(room)) return room;
  const std::uint64_t own = remaining(BufferBudget::kOwnShare, cost);
  return std::min(room, std::max(own, group_->budget.room()));
}

}  // namespace weir::internal
