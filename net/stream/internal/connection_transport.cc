// Connection: reading and writing through a transport. Its handshake comes before on_open. After it
// all output goes through the queue, so that only flush_output() has to handle bytes that the
// transport holds.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "weir/base/aligned_bytes.h"
#include "weir/base/log_line.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;
using Then = IoResult::Then;

namespace {

// Size of the pieces of a file that are read and given to the transport. On the stack.
constexpr std::size_t kFilePiece = 16 * 1024;

// The error of a call that failed or ended.
Errno error_of(const IoResult& result) { return result.error ? result.error : Errno(EPROTO); }

// The result in the form of the socket's calls: EAGAIN to wait, 0 bytes for the end.
SysResult<std::size_t> as_of_socket(const IoResult& result) {
  switch (result.then) {
    case Then::ok:
      if (result.bytes == 0) return std::unexpected(Errno(EPROTO));  // else an endless loop
      return result.bytes;
    case Then::want_read:
    case Then::want_write:
      return std::unexpected(Errno(EAGAIN));
    case Then::end:
      return 0;
    case Then::failed:
      break;
  }
  return std::unexpected(error_of(result));
}

}  // namespace

// --- the handshake -------------------------------------------------------------------------------

void Connection::open() {
  if (edge_triggered()) {  // registered once, for both directions
    channel_.set_reading(true);
    channel_.set_writing(true);
  } else {
    channel_.watch_errors();
  }
  without_throwing([this] {
    if (auto transport = group_->make_transport()) {
      extras().transport = std::move(transport);
      status_.indirect = true;
      state_ = State::opening;
    }
    arm_deadline();
    state_ == State::opening ? continue_handshake() : opened();
  });
}

// A step of a handshake may compute for a millisecond. So HandshakeSteps limits the steps in one
// turn, and the others wait for the next: when very many clients connect at once, established
// connections keep their latency.
void Connection::continue_handshake() {
  if (!group_->io->handshakes.may_step(core().turns())) {
    requeue_read();
    return;
  }
  Transport& transport = *extras_->transport;
  const IoResult result = transport.handshake(fd_.get());
  switch (result.then) {
    case Then::ok:
      opened_by_transport();
      return;
    case Then::want_read:
    case Then::want_write:
      extras_->handshake_wants_write = result.then == Then::want_write;
      update_interest();
      return;
    case Then::end:
    case Then::failed:
      break;
  }
  static_cast<void>(transport.flush(fd_.get()));  // the alert that says why
  const CloseReason reason =
      result.then == Then::end ? CloseReason{Kind::peer_eof, {}} : failed_by(error_of(result));
  const std::string sentence = failure();
  WEIR_LOG_LIMITED(info, 1, "the handshake with {} failed: {}", peer_address().to_string(),
                   sentence.empty() ? reason.to_string() : sentence);
  finish(reason);
}

// The transport may have read the peer's first bytes already, or they may be in the socket behind
// the end of the handshake, where epoll does not report them again. So a read is requested.
void Connection::opened_by_transport() {
  state_ = State::open;
  since_ = last_read_ = last_activity_ = write_progress_ = clock_now();
  Transport& transport = *extras_->transport;
  if (transport.plain() && transport.held() == 0 && !transport.has_pending()) {
    extras_->transport.reset();
    status_.indirect = false;
  }
  arm_deadline();
  requeue_read();
  flush_output();  // bytes that the handshake left in held()
  if (state_ != State::closed) opened();
}

std::string Connection::failure() const {
  return transport() != nullptr ? transport()->failure() : std::string();
}

CloseReason Connection::failed_by(Errno error) const {
  if (error == ECONNRESET || error == EPIPE) return {Kind::reset, error};
  return {failure().empty() ? Kind::io_error : Kind::transport_failed, error};
}

// --- reading -------------------------------------------------------------------------------------

// While lingering, only the end of the input matters, so the transport is bypassed.
SysResult<std::size_t> Connection::receive_through(Transport& transport,
                                                   std::span<std::byte> into) {
  if (state_ == State::lingering) return sys::recv(fd_.get(), into);
  const IoResult result = transport.read(fd_.get(), into);
  extras_->read_wants_write = result.then == Then::want_write;
  if (result.then == Then::failed) static_cast<void>(transport.flush(fd_.get()));  // its alert
  if (transport.held() > 0 && !status_.want_write) settle_later();  // an answer of the protocol
  return as_of_socket(result);
}

bool Connection::has_pending() const {
  return transport() != nullptr && state_ != State::lingering && transport()->has_pending();
}

// --- writing -------------------------------------------------------------------------------------

// Bytes that the transport holds are written first. `offered` is set to the bytes taken, so that
// nothing counts as a short write: the transport itself returns what it waits for.
SysResult<std::size_t> Connection::write_through(Transport& transport, std::uint64_t most,
                                                 std::uint64_t& offered) {
  offered = 0;
  if (const std::size_t before = transport.held(); before > 0) {
    const IoResult flushed = transport.flush(fd_.get());
    extras_->write_wants_read = flushed.then == Then::want_read;
    if (transport.held() < before) write_progress_ = clock_now();
    if (flushed.then == Then::ok) return 0;
    return as_of_socket(flushed);
  }
  extras_->fully_sent = bytes_out_;
  alignas(kCacheLine) std::array<std::byte, kFilePiece> piece;
  std::array<iovec, 1> front{};
  std::span<const std::byte> bytes;
  if (output_->fill(front) > 0) {
    bytes = {static_cast<const std::byte*>(front[0].iov_base),
             std::min<std::uint64_t>(front[0].iov_len, most)};
  } else {
    const OutputQueue::FileRange file = output_->front_file();
    const auto got = read_piece(file.fd, file.offset, file.length, piece);
    if (!got) return got;
    if (*got == 0) return std::unexpected(Errno(EIO));  // the file ended before the range
    bytes = std::span(piece).first(*got);
  }
  const IoResult result = transport.write(fd_.get(), bytes);
  extras_->write_wants_read = result.then == Then::want_read;
  auto taken = as_of_socket(result);
  if (taken) output_->consume(offered = *taken);
  return taken;
}

// True: our FIN was sent. False: the transport has to send its own end first. An error: the peer is
// gone.
SysResult<bool> Connection::send_fin() {
  if (Transport* const through = transport(); through != nullptr && !extras_->finished) {
    const IoResult result = through->finish(fd_.get());
    if (result.then != Then::ok) return std::unexpected(error_of(result));
    extras_->finished = true;
    flush_output();
    account();
    if (through->held() > 0) return false;
  }
  if (auto sent = sys::shutdown(fd_.get(), SHUT_WR); !sent) return std::unexpected(sent.error());
  return true;
}

// Events that the other direction waits for: a write that waits for readability, or a read that
// waits for writability.
void Connection::serve_crossed(std::uint32_t events) {
  if ((events & EPOLLIN) != 0 && extras_->write_wants_read) {
    extras_->write_wants_read = false;
    flush_output();
  }
  if ((events & EPOLLOUT) != 0 && extras_->read_wants_write) {
    extras_->read_wants_write = false;
    read_ready();
  }
}

}  // namespace weir::internal
