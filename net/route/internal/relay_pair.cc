#include "weir/net/route/internal/relay_pair.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "weir/base/check.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;
using State = TcpConnection::State;

namespace {

// A read of at least kBulk bytes makes a direction a bulk stream, for which a pipe and two splices
// are worth while. A splice of less than kTrickle bytes ends that.
constexpr std::size_t kBulk = 32 * 1024;
constexpr std::size_t kTrickle = 8 * 1024;
// The first and the longest wait between checks whether a peer has acknowledged everything. There
// is no event for that.
constexpr Duration kFirstAckCheck = std::chrono::milliseconds(20);
constexpr Duration kLongestAckCheck = std::chrono::milliseconds(250);

// The kernel, or a filter such as seccomp, does not support splice(2) for these sockets.
bool means_unsupported(Errno error) {
  return error == EINVAL || error == ENOSYS || error == EPERM || error == EOPNOTSUPP;
}

bool orderly(Kind kind) {
  switch (kind) {
    case Kind::peer_eof:
    case Kind::local_close:
    case Kind::idle_timeout:
    case Kind::read_idle_timeout:
    case Kind::first_byte_timeout:
    case Kind::server_stopped:
      return true;
    default:
      return false;
  }
}

}  // namespace

RelayPair::RelayPair(Key, Connection& a, Connection& b, RelayOptions options, RelayDone on_done)
    : loop_(a.loop()),
      pipes_(loop_.local<SplicePipes>()),
      options_(options),
      on_done_(std::move(on_done)),
      ends_{&a, &b},
      ack_checks_{BackOff(kFirstAckCheck, kLongestAckCheck),
                  BackOff(kFirstAckCheck, kLongestAckCheck)} {}

RelayPair::~RelayPair() { leave_groups(); }

RelayHandle RelayPair::join(Connection& a, Connection& b, RelayOptions options, RelayDone on_done) {
  internal::core_of(a.loop()).check_thread("relay");
  WEIR_CHECK(&a.loop() == &b.loop(), "relay() of connections of two loops");
  WEIR_CHECK(&a != &b, "relay() of a connection with itself");
  WEIR_CHECK(a.pump() == nullptr && b.pump() == nullptr,
             "relay() of a connection that is relayed already");
  // Allocates all memory before anything changes.
  a.extras();
  b.extras();
  auto pair = std::make_shared<RelayPair>(Key{}, a, b, options, std::move(on_done));
  for (std::size_t end = 0; end < 2; ++end) {
    ConnectionGroup& group = pair->ends_[end]->group();
    group.pumps.insert(pair.get());
    pair->groups_[end] = &group;
  }
  pair->self_ = pair;
  for (std::size_t end = 0; end < 2; ++end) pair->take_over(end);
  for (std::size_t end = 0; end < 2; ++end) pair->catch_up(end);
  if (!pair->active()) a.loop().post([pair] { pair->finish(); });
  return RelayHandle(pair);
}

void RelayPair::take_over(std::size_t end) {
  Connection& connection = *ends_[end];
  sent_before_[end] = connection.bytes_out() + connection.pending_output();
  if (connection.state() == State::closed) {  // its own handler gets on_close
    ended(end, connection.reason());
  } else {
    connection.attach(*this, *this);
  }
}

// Applies to the other side what happened to this side before the relay.
void RelayPair::catch_up(std::size_t end) {
  Connection* const here = ends_[end];
  Connection* const other = ends_[1 - end];
  if (other == nullptr) return;
  if (here == nullptr) {
    end_other(*other, reasons_[end]);
  } else if (here->state() != State::open) {
    end_other(*other, here->reason());
  } else if (here->peer_half_closed() && here->pending_input() == 0) {
    other->shutdown();
  }  // with input left, leftover_forwarded() forwards the end
}

void RelayPair::cancel() {
  for (Connection* end : ends_) {
    if (end != nullptr) end->abort();
  }
}

// --- through memory ------------------------------------------------------------------------------

// Sends no more than the sink can queue below its marks. The rest stays with the source, which is
// paused until the sink has drained.
void RelayPair::on_data(TcpConnection& from, Buffer& in) {
  Connection& source = machine_of(from);
  const std::size_t way = index_of(source);
  Connection* const sink = ends_[1 - way];
  if (in.size() >= kBulk) ways_[way].bulk = true;
  while (!in.empty()) {
    if (sink == nullptr || !sink->accepts_output()) {  // no receiver
      in.clear();
      if (sink != nullptr && sink->state() != State::open) end_other(source, sink->reason());
      return;
    }
    const std::size_t some = std::min(in.size(), sink->output_room());
    const SendResult result =
        some == 0 ? SendResult::above_high_mark : sink->send(in.bytes().first(some));
    in.consume(some);
    if (result == SendResult::above_high_mark) {
      hold(way);
      break;
    }
  }
  if (in.empty() && source.peer_half_closed()) leftover_forwarded(source);
}

// Forwards a FIN of the peer that was read before the relay began, after the input that was left.
void RelayPair::leftover_forwarded(Connection& source) {
  on_half_close(source);
  if (source.write_side() == WriteSide::finished) source.finish({Kind::peer_eof, {}});
}

void RelayPair::on_half_close(TcpConnection& source) {
  if (Connection* sink = ends_[1 - index_of(source)]) sink->shutdown();
}

void RelayPair::hold(std::size_t way) {
  if (ways_[way].holding) return;
  ways_[way].holding = true;
  ends_[way]->pause_reading();
  Connection& sink = *ends_[1 - way];
  sink.raise_pressure();  // so that on_drained follows
  sink.settle_later();
}

void RelayPair::on_drained(TcpConnection& sink) {
  const std::size_t way = 1 - index_of(sink);
  if (!std::exchange(ways_[way].holding, false)) return;
  if (Connection* source = ends_[way]) source->resume_reading();
}

// --- through pipes -------------------------------------------------------------------------------

std::size_t RelayPair::read(Connection& source) {
  const bool by_pipe =
      source.state() == State::open && source.pending_input() == 0 && splices(source);
  if (!by_pipe) return source.read_into_memory(source.input_room());
  const auto moved = fill(source);
  if (!moved) {
    if (moved.error() == ENOTSUP) return source.read_into_memory(source.input_room());
    if (source.may_read()) source.input_failed(moved.error());  // else fill() has paused it
    return 0;
  }
  if (*moved == 0) {
    source.input_ended();
    return 0;
  }
  source.note_read(*moved);
  pass_on(source);
  return *moved;
}

// Whether the next bytes of `source` go through a pipe. Takes one if necessary.
bool RelayPair::splices(const Connection& source) {
  const std::size_t way = index_of(source);
  Way& here = ways_[way];
  const Connection* const sink = ends_[1 - way];
  if (sink == nullptr || !sink->accepts_output()) return false;
  if (here.pipe) return true;  // its bytes come first
  const bool wanted = options_.path == RelayOptions::Path::splice ||
                      (options_.path == RelayOptions::Path::automatic && here.bulk);
  if (!wanted || here.refused || source.transport() != nullptr || sink->transport() != nullptr) {
    return false;
  }
  auto pipe = pipes_.take();
  if (!pipe) {
    here.bulk = false;
    return false;
  }
  here.pipe = std::move(*pipe);
  return true;
}

// Moves bytes from the socket to the pipe. EAGAIN: nothing now (`source` may have been paused for
// that). ENOTSUP: the bytes have to be copied.
SysResult<std::size_t> RelayPair::fill(Connection& source) {
  const std::size_t way = index_of(source);
  Way& here = ways_[way];
  auto moved = here.pipe->fill(source.fd(), bound_of(way));
  if (moved) {
    if (*moved < kTrickle) here.bulk = false;
  } else if (moved.error() == EAGAIN && here.pipe->held() > 0) {
    // Either the socket is empty or the pipe is full. Once the pipe is empty the next call shows
    // it.
    here.clogged = true;
    hold(way);
  } else if (moved.error() == EAGAIN) {
    // Usually the socket is empty. But splice(2) also returns EAGAIN, without end, at an urgent
    // byte (RFC 6093) that has more bytes behind it. recv(2) tells the difference.
    moved = std::unexpected(Errno(ENOTSUP));
  } else if (means_unsupported(moved.error()) && here.pipe->held() == 0) {
    here.refused = true;
    moved = std::unexpected(Errno(ENOTSUP));
  }
  give_back_if_empty(way);
  return moved;
}

// Sends the bytes that fill() has just moved into the pipe.
void RelayPair::pass_on(Connection& source) {
  const std::size_t way = index_of(source);
  Connection& sink = *ends_[1 - way];
  if (!sink.want_write()) sink.flush_output();
  if (full(sink)) hold(way);
  if (sink.under_pressure() || sink.write_side() == WriteSide::failed) sink.settle_later();
}

std::size_t RelayPair::held(const Connection& sink) const {
  const Way& way = ways_[1 - index_of(sink)];
  return way.pipe ? way.pipe->held() : 0;
}

SysResult<std::size_t> RelayPair::write(Connection& sink) {
  const std::size_t way = 1 - index_of(sink);
  auto moved = ways_[way].pipe->drain(sink.fd());
  give_back_if_empty(way);
  return moved;
}

void RelayPair::discard(const Connection& sink) {
  Way& way = ways_[1 - index_of(sink)];
  way.pipe.reset();
  way.clogged = false;
}

void RelayPair::give_back_if_empty(std::size_t way) {
  Way& here = ways_[way];
  if (here.pipe->held() > 0) return;
  here.clogged = false;
  pipes_.give_back(std::move(here.pipe));
}

std::size_t RelayPair::bound_of(std::size_t way) const {
  const ConnectionLimits& limits = ends_[1 - way]->group().limits;
  return static_cast<std::size_t>(
      std::min<std::uint64_t>(ways_[way].pipe->capacity(), limits.high_water));
}

bool RelayPair::full(const Connection& sink) const {
  const std::size_t way = 1 - index_of(sink);
  const Way& here = ways_[way];
  return here.pipe && (here.clogged || here.pipe->held() >= bound_of(way));
}

// If the budget has no room, the sink counts as drained when it holds half of its own share.
bool RelayPair::drained(const Connection& sink) const {
  const std::size_t way = 1 - index_of(sink);
  const Way& here = ways_[way];
  const bool pipe_is_low = !here.pipe || (!here.clogged && here.pipe->held() <= bound_of(way) / 2);
  return pipe_is_low &&
         (sink.group().budget.has_room(1) || sink.output_cost() <= BufferBudget::kOwnShare / 2);
}

// --- ends ----------------------------------------------------------------------------------------

void RelayPair::on_close(TcpConnection& connection, CloseReason reason) {
  const std::size_t end = index_of(connection);
  discard(*ends_[end]);
  ended(end, reason);
  if (Connection* other = ends_[1 - end]) {
    end_other(*other, reason);
  } else {
    finish();
  }
}

// For peer_eof nothing is done: the other side ends when both streams have ended. After a failure
// on_close() decides, because there may be bytes to deliver.
void RelayPair::closing(Connection& connection, CloseReason reason) {
  Connection* const other = ends_[1 - index_of(connection)];
  if (other == nullptr || reason.kind == Kind::peer_eof || !orderly(reason.kind)) return;
  end_other(*other, reason);
}

void RelayPair::ended(std::size_t end, CloseReason reason) {
  const std::uint64_t out = ends_[end]->bytes_out();
  sent_[end] = out > sent_before_[end] ? out - sent_before_[end] : 0;
  reasons_[end] = reason;
  ends_[end] = nullptr;
}

void RelayPair::end_other(Connection& other, CloseReason reason) {
  // The other side ends by itself when its queued output is sent.
  const bool sends_its_fin = other.write_side() != WriteSide::open;
  if (reason.kind == Kind::peer_eof && other.peer_half_closed() && sends_its_fin) return;
  other.start_close({orderly(reason.kind) ? Kind::local_close : Kind::aborted, {}});
}

// A stream has not ended while input from before the relay has to be forwarded. After a failure of
// the other side, this peer gets the bytes that came before it, and then a RST.
bool RelayPair::may_end(Connection& connection) {
  if (connection.state() == State::open) return connection.pending_input() == 0;
  if (connection.reason().kind != Kind::aborted) return true;
  reset_when_delivered(connection);
  return false;
}

// A RST makes the kernel discard bytes that the peer has not acknowledged, so it waits for that.
void RelayPair::reset_when_delivered(Connection& connection) {
  const std::size_t end = index_of(connection);
  if (ack_check_set_[end]) return;
  const auto left = sys::unacknowledged(connection.fd());
  if (!left || *left == 0) {
    connection.reset(connection.reason());
    return;
  }
  ack_check_set_[end] = true;
  loop_.run_after(ack_checks_[end].next(), [pair = std::weak_ptr(self_), end] {
    const auto still = pair.lock();
    if (!still || still->ends_[end] == nullptr) return;
    still->ack_check_set_[end] = false;
    still->ends_[end]->settle_later();
  });
}

void RelayPair::finish() {
  internal::core_of(loop_).keep_until_reaped(std::move(self_));
  RelayDone done = std::move(on_done_);
  if (done) done({.a_to_b = sent_[1], .b_to_a = sent_[0], .a = reasons_[0], .b = reasons_[1]});
  leave_groups();
}

void RelayPair::forget(const ConnectionGroup& group) {
  on_done_ = nullptr;
  for (ConnectionGroup*& mine : groups_) {
    if (mine == &group) mine = nullptr;
  }
}

void RelayPair::leave_groups() {
  for (std::size_t end = 0; end < 2; ++end) {
    ConnectionGroup* const group = std::exchange(groups_[end], nullptr);
    if (group != nullptr) group->leave(*this);
  }
}

}  // namespace weir::internal

namespace weir {

bool RelayHandle::active() const {
  const auto pair = pair_.lock();
  return pair && pair->active();
}

void RelayHandle::cancel() const {
  if (const auto pair = pair_.lock()) pair->cancel();
}

RelayHandle relay(TcpConnection& a, TcpConnection& b, RelayOptions options, RelayDone on_done) {
  return internal::RelayPair::join(internal::machine_of(a), internal::machine_of(b), options,
                                   std::move(on_done));
}

}  // namespace weir
