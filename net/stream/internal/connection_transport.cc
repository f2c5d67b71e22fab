// Connection: by way of a transport. Its handshake comes before on_open; then everything that is
// sent goes through the queue, so that one place, flush_output(), deals with what the transport
// holds back.
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

// Of a file, read and given to the transport at once. On the stack.
constexpr std::size_t kFilePiece = 16 * 1024;

// Of a call that did not go well.
Errno error_of(const IoResult& result) { return result.error ? result.error : Errno(EPROTO); }

// As the socket's own calls say it: EAGAIN to wait, 0 bytes for the end.
SysResult<std::size_t> as_of_socket(const IoResult& result) {
  switch (result.then) {
    case Then::ok:
      if (result.bytes == 0) return std::unexpected(Errno(EPROTO));  // or it would be called again
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
  if (edge()) {  // registered once and for all
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

// A handshake may cost a millisecond of computing, so no more than a few steps are made in one turn
// and the others wait for the next: established connections keep their latency in a storm.
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
  WEIR_LOG_LIMITED(info, 1, "the handshake with {} failed: {}", peer_address().to_string(),
                   result.then == Then::end ? "the peer closed" : failure());
  finish({Kind::transport_failed, error_of(result)});
}

// The peer's first bytes may lie in the transport already, or in the socket behind the last of the
// handshake, where epoll does not report them again.
void Connection::opened_by_transport() {
  state_ = State::open;
  since_ = last_read_ = last_activity_ = write_progress_ = clock_now();
  Transport& transport = *extras_->transport;
  if (transport.plain() && transport.held() == 0) {
    extras_->transport.reset();
    status_.indirect = false;
  }
  arm_deadline();
  requeue_read();
  flush_output();  // what the handshake has left
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

// Nothing but the end is looked for once our FIN was sent.
SysResult<std::size_t> Connection::receive_through(Transport& transport,
                                                   std::span<std::byte> into) {
  if (state_ == State::lingering) return sys::recv(fd_.get(), into);
  const IoResult result = transport.read(fd_.get(), into);
  extras_->read_wants_write = result.then == Then::want_write;
  if (result.then == Then::failed) static_cast<void>(transport.flush(fd_.get()));  // its alert
  return as_of_socket(result);
}

bool Connection::has_pending() const {
  return transport() != nullptr && state_ != State::lingering && transport()->has_pending();
}

// --- writing -------------------------------------------------------------------------------------

// What the transport holds goes first. `offered` is what was taken: only the transport knows what
// it waits for.
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

// True: our FIN was sent. False: the transport has its own end to send before it. An error: the
// peer is gone.
SysResult<bool> Connection::send_fin() {
  if (Transport* const through = transport(); through != nullptr && !extras_->finished) {
    const IoResult result = through->finish(fd_.get());
    if (result.then != Then::ok) return std::unexpected(error_of(result));
    extras_->finished = true;
    flush_output();
    if (through->held() > 0) return false;
  }
  if (auto sent = sys::shutdown(fd_.get(), SHUT_WR); !sent) return std::unexpected(sent.error());
  return true;
}

// Events for the direction that the other one waits for.
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
