// The life of a connection. Input and the read gate are in connection_input.cc, output in
// connection_output.cc, deadlines in connection_deadlines.cc, the handshake of a transport in
// connection_transport.cc.
//
//     opening: the handshake of a transport, before on_open; a failure leads to closed
//      |
//      |   close(), the peer's FIN, server stop,        all output and
//      v   input_overflow, a deadline of on_timeout     our FIN sent
//     open --------------------------> closing ------------------------> lingering
//      |                                  |                                  |
//      | reset, abort(), exception,       | all sent and the peer's          | the peer's FIN,
//      | output_overflow, write_stall,    | FIN was read already;            | linger_timeout,
//      | io_error; shutdown() and         | drain_timeout, reset,            | reset, 64 MiB
//      | the peer's FIN                   | 64 MiB of input                  | of input
//      +----------------------------------+----------------------------------+--> closed
//
// finish() enters `closed`: it removes the channel from epoll, so that ConnectionRefs no longer
// find the connection, and puts the object on the loop's reap list. on_reap() calls on_close,
// closes the descriptor and frees the object. So no connection is destroyed inside a callback, and
// on_close is called exactly once after each on_open.
//
// ConnectionStatus has three more values, which change independently of the state:
//
//   ReadGate    the set of reasons not to read. The connection is read while the set is empty.
//                 paused       pause_reading()              until the last resume_reading()
//                 output_high  Pressure is not low          until it is low
//                 no_budget    apply_budget(), no room      until BudgetHolders has room
//                 backing_off  ENOBUFS, ENOMEM              for kBackOff
//                 peer_ended   the peer's FIN was read      permanently
//                 closed       finish()                     permanently
//               In `closing` and `lingering` the first three are lifted: input is discarded.
//   WriteSide   open --shutdown()--> finishing --all sent--> finished (our FIN was sent)
//                  \--a send finds the peer gone--> failed: read to the end, then closed
//   Pressure    low --high mark--> high --on_blocked--> blocked
//                ^------ low mark: on_drained ------------/
//
// Flags. want_write: the socket refused output. redeliver: the handler gets input_ before more is
// read. draining: the server shuts down. settle_queued: the flush phase will call settle(). A
// connection has a Pump once it is relayed.
//
// Invariants, which check_invariants() checks in debug builds at the end of settle():
//   1  The gate has the reason `closed` exactly if the state is closed. Then the channel is
//      removed.
//   2  Level-triggered and without a transport, EPOLLIN is wanted exactly while the gate is open.
//   3  Level-triggered and without a transport, EPOLLOUT is wanted exactly while want_write is set.
//      want_write is set only while output waits and backing_off is not a reason.
//   4  In `open`, the gate has the reason `paused` exactly while calls of pause_reading() are left.
//   5  In `open` and without a pump, it has the reason `output_high` exactly while Pressure is not
//      low.
//   6  The bytes charged to the budget are the bytes held. Holders hold something. The starved are
//      open and holders.
//   7  input_ holds bytes; in other states than `open` it exists only until the flush phase.
//   8  Lingering comes after our FIN. With a failed output the state is open and no output waits.
//   9  indirect is set exactly while there is a transport or a pump.
//
// Only call_handler() calls a handler. It is reached from the loop (open, on_ready, on_flush,
// on_deadline, on_reap), never from a call that the program makes.
#include "weir/net/stream/internal/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

#include "weir/base/call_all.h"
#include "weir/base/check_format.h"
#include "weir/base/log_line.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/stream/internal/connection_limits.h"
#include "weir/net/stream/internal/connection_observer.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

namespace {

constexpr std::uint32_t kReadable = EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP | EPOLLPRI;
constexpr std::uint32_t kWritable = EPOLLOUT | EPOLLERR | EPOLLHUP;

// ENOBUFS and ENOMEM do not depend on readiness, so the call is repeated after kBackOff. After
// kMaxBackOffs in a row (a second) the connection ends with io_error.
constexpr Duration kBackOff = std::chrono::milliseconds(20);
constexpr std::uint8_t kMaxBackOffs = 50;

// Makes close(2) send a RST, so that the peer does not take the part that it received for the
// whole. A Unix socket has no RST. Not for the child of a fork(): the parent has the same socket
// and still uses it.
void end_with_rst(int fd) {
  const linger rst{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(sys::set_option(fd, SOL_SOCKET, SO_LINGER, rst));
}

}  // namespace

Connection::Connection(ConnectionGroup& group, Fd fd)
    : channel_(group.loop, fd.get(), *this, group.trigger),
      group_(&group),
      handler_(group.handler.get()),
      last_read_(clock_now()),
      last_activity_(last_read_),
      write_progress_(last_read_),
      since_(last_read_),
      message_since_(last_read_),
      fd_(std::move(fd)) {}

// Valid in on_close too, so that a program finds there what it stored under this ref.
ConnectionRef Connection::ref() const { return {core().mailbox(), channel_.id()}; }

std::uint64_t Connection::id() const { return connection_id(*core().mailbox(), channel_.id()); }

void Connection::opened() {
  opened_ = true;
  group_->notify_opened(*this);
  call_handler("on_open", [this] { handler_->on_open(*this); });
  settle();
}

// --- what the loop calls -------------------------------------------------------------------------

void Connection::on_ready(std::uint32_t events) {
  without_throwing([this, events] { serve(events); });
}

void Connection::serve(std::uint32_t events) {
  if (state_ == State::opening) [[unlikely]] {
    continue_handshake();
    return;
  }
  const bool had_nothing_pending = nothing_pending();
  if (had_nothing_pending && !edge_triggered()) [[likely]] {
    read_once();
  } else {
    if ((events & kWritable) != 0 && status_.want_write) flush_output();
    if (status_.indirect) serve_crossed(events);
    if ((events & kReadable) != 0) read_ready();
    if ((events & EPOLLERR) != 0 && !may_read() && (status_.want_write || pump() == nullptr)) {
      // Neither reading nor writing will find the error, and level-triggered epoll would report it
      // in every turn. SO_ERROR is read last, because reading clears it for recv(2), which a pump
      // calls when it resumes: the pump first passes on the bytes that came before the error.
      if (const Errno error = socket_error_of(fd_.get())) output_failed(error);
    }
  }
  // A connection that has nothing pending since this call may still have EPOLLOUT wanted.
  if (!had_nothing_pending || !nothing_pending()) settle();
}

void Connection::on_flush() {
  status_.settle_queued = false;
  without_throwing([this] {
    if (starved()) group_->holders.resume();
    flush_output();
    settle();
  });
  if (extras_) destroy_replaced();
  written_kib_ = 0;
}

void Connection::on_interest_refused(Errno error) {
  WEIR_LOG_LIMITED(error, 1, "watch a connection: epoll_ctl on fd {}: {}", fd_.get(),
                   error.message());
  finish({Kind::io_error, error});
}

// Whatever throws, the connection is freed, and everything that waits for its end is notified.
void Connection::on_reap() {
  if (status_.settle_queued) {  // the flush list still points here
    core().reap_again(*this);
    return;
  }
  ConnectionGroup& group = *group_;
  CallAll all;
  {
    const auto remove = [](Connection* connection) {
      connection->group_->remove(*connection);
      delete connection;
    };
    const std::unique_ptr<Connection, decltype(remove)> removed(this, remove);
    ++group.closed[static_cast<std::size_t>(reason_.kind)];
    if (extras_) all([this] { notify_sent(); });
    if (opened_) {
      all([this] { call_handler("on_close", [this] { handler_->on_close(*this, reason_); }); });
    }
    if (observed_) all([this] { group_->notify_observers_ended(*this); });
    all([this] { release_producers(); });
    destroy_owned();
    if (output_lost_ && !loop().forked()) end_with_rst(fd_.get());
    fd_.reset();
    all([this, &group] { group.notify_ended(*this); });
  }
  all([&group] { group.notify_if_empty(); });
  all.rethrow_first();
}

// --- ending --------------------------------------------------------------------------------------

void Connection::shutdown() {
  core().check_thread("TcpConnection::shutdown");
  if (!accepts_output()) return;
  stop_gathering();
  status_.write_side = WriteSide::finishing;
  settle_later();
}

void Connection::close() {
  core().check_thread("TcpConnection::close");
  start_close({Kind::local_close, {}});
}

void Connection::abort() {
  core().check_thread("TcpConnection::abort");
  reset({Kind::aborted, {}});
}

void Connection::stop_gracefully() {
  if (state_ == State::opening) finish({Kind::server_stopped, {}});
  if (state_ != State::open) return;
  status_.draining = true;
  if (peer_half_closed()) end_if_drained();
  read_gate_changed();
}

// apply_budget(), in settle(), lifts no_budget.
void Connection::start_close(CloseReason reason) {
  if (state_ == State::opening) finish(reason);
  if (state_ != State::open) return;
  if (status_.write_side == WriteSide::failed) {
    finish(reason_);
    return;
  }
  stop_gathering();
  status_.draining = false;
  status_.gate.lift(ReadGate::paused | ReadGate::output_high);
  state_ = State::closing;
  reason_ = reason;
  since_ = write_progress_ = clock_now();
  arm_deadline();
  settle_later();
  if (pump() != nullptr) pump()->closing(*this, reason);
}

// Makes the next step towards `closed` once all output is sent.
void Connection::advance_close() {
  if (pending_output() > 0) return;
  const bool finishing = state_ == State::open && status_.write_side == WriteSide::finishing;
  if (!finishing && state_ != State::closing) return;
  if (pump() != nullptr && !pump()->may_end(*this)) {
    if (finishing) finish_writing();
  } else if (peer_half_closed()) {
    finish(finishing ? CloseReason{Kind::peer_eof, {}} : reason_);
  } else if (finish_writing() && state_ == State::closing) {
    state_ = State::lingering;
    since_ = clock_now();
    arm_deadline();
  }
}

// Sends our FIN. False: a transport has bytes to send before it, or the peer is gone.
bool Connection::finish_writing() {
  if (status_.write_side == WriteSide::finished) return true;
  const auto sent = send_fin();
  if (sent && *sent) {
    status_.write_side = WriteSide::finished;
    return true;
  }
  if (!sent && state_ == State::closing) {
    finish(reason_);  // without a peer there is no reason to linger
  } else if (!sent) {
    output_failed(Errno(EPIPE));
  }
  return false;
}

void Connection::reset(CloseReason reason) {
  if (state_ == State::closed) return;
  output_lost_ = true;
  finish(reason);
}

void Connection::finish(CloseReason reason) {
  if (state_ == State::closed) return;
  if (pending_output() > 0) output_lost_ = true;
  stop_gathering();
  state_ = State::closed;
  reason_ = reason;
  status_.gate.shut(ReadGate::closed);
  status_.gate.lift(ReadGate::no_budget);
  account();
  if (holder_) group_->holders.update(*this);
  channel_.remove();
  core().reap_later(*this);
}

// From here on send() checks the state first.
void Connection::stop_gathering() {
  if (group_->io->corked == this) group_->io->gather_limit = 0;
}

// A pump continues until the other side has ended, too.
void Connection::forget_handler() {
  if (pump() == nullptr) {
    handler_ = nullptr;
  } else {
    std::exchange(extras_->sent_waiters, {}).clear();
  }
}

void Connection::attach(Pump& pump, ConnectionHandler& handler) {
  extras().pump = &pump;
  status_.indirect = true;
  handler_ = &handler;
  status_.gate.lift(ReadGate::output_high);
  without_throwing([this] {
    redeliver_input();
    settle_later();
  });
}

void Connection::handler_threw(const char* event, const char* what) {
  try {
    WEIR_LOG_LIMITED(error, 10, "an exception left {} of connection {}, which is closed: {}", event,
                     id(), escaped(what, kMaxLoggedText));
  } catch (const std::bad_alloc&) {  // for the text
    WEIR_LOG_LIMITED(error, 10, "an exception left {} of connection {}, which is closed", event,
                     id());
  }
  finish({Kind::handler_threw, {}});
}

// --- keeping things consistent -------------------------------------------------------------------

// Updates everything that follows from the state: water marks and their events, the next step of a
// close, epoll interest. Every call from the loop ends with it, unless nothing is pending.
void Connection::settle() {
  if (state_ == State::closed) return;
  if (state_ != State::open) input_.reset();  // no handler gets it any more
  if (extras_) notify_sent();                 // first: those that wait count as output
  account();
  settle_pressure();
  account();
  apply_budget();
  if (state_ != State::closed) advance_close();
  if (state_ != State::closed) follow_read_gate();
  check_invariants();
}

void Connection::settle_pressure() {
  const bool held_back = status_.holds_producers && !within_budget(0);
  if (under_pressure() && below_low_mark() && !held_back) lower_pressure();
  if (!above_high_mark()) return;
  raise_pressure();
  if (status_.pressure == Pressure::high && state_ == State::open) {
    set_pressure(Pressure::blocked);
    call_handler("on_blocked", [this] { handler_->on_blocked(*this); });
  }
}

// The low mark was reached again. An observer may fill the output before the handler is called.
void Connection::lower_pressure() {
  const Pressure before = status_.pressure;
  set_pressure(Pressure::low);
  release_producers();
  read_before_refill();
  if (observed_) group_->notify_observers_drained(*this);
  if (state_ == State::open && above_high_mark()) {
    set_pressure(before);
  } else if (state_ == State::open) {
    call_handler("on_drained", [this] { handler_->on_drained(*this); });
    status_.refilled = under_pressure();
  }
}

// A handler that fills the output again in on_drained would otherwise never let the socket be read.
void Connection::read_before_refill() {
  if (!status_.refilled) return;
  status_.refilled = false;
  if (may_read()) read_ready();
}

void Connection::settle_later() {
  if (status_.settle_queued || state_ == State::closed) return;
  core().flush_later(*this);
  status_.settle_queued = true;
}

void Connection::back_off(Errno error) {
  if (++back_offs_ > kMaxBackOffs) {
    finish({Kind::io_error, error});
    return;
  }
  if (backing_off()) return;
  status_.gate.shut(ReadGate::backing_off);
  status_.want_write = false;
  loop().run_after(kBackOff, [self = ref()] {
    if (TcpConnection* connection = self.get()) {
      Connection& retried = machine_of(*connection);
      retried.status_.gate.lift(ReadGate::backing_off);
      retried.settle_later();
    }
  });
}

// --- invariants ----------------------------------------------------------------------------------

// The numbers are those of the list at the top.
void Connection::check_invariants() const {
  if (state_ == State::closed) {
    WEIR_DCHECK(channel_.removed(), "1: a closed connection is still watched");
    return;
  }
  const ReadGate& gate = status_.gate;
  const bool open = state_ == State::open;
  WEIR_DCHECK(!gate.shut_by(ReadGate::closed), "1: an open connection has a closed gate");
  const bool follows_gate = !edge_triggered() && transport() == nullptr;
  WEIR_DCHECK(!follows_gate || channel_.reading() == gate.open(),
              "2: interest and the gate differ");
  WEIR_DCHECK(!follows_gate || channel_.writing() == status_.want_write,
              "3: EPOLLOUT and want_write differ");
  WEIR_DCHECK(!status_.want_write || (output_waits() && !backing_off()),
              "3: want_write without waiting output, or while backing off");
  WEIR_DCHECK(!open || gate.shut_by(ReadGate::paused) == (pauses_ > 0),
              "4: the gate and the pauses differ");
  WEIR_DCHECK(!open || pump() != nullptr || gate.shut_by(ReadGate::output_high) == under_pressure(),
              "5: the gate and the pressure differ");
  WEIR_DCHECK(!starved() || (open && holder_), "6: starved, but no holder of the budget");
  WEIR_DCHECK(!holder_ || charged_ > 0, "6: a holder that holds nothing");
  WEIR_DCHECK(charged_ == held(), "6: {} bytes are charged and {} held", charged_, held());
  WEIR_DCHECK(!input_ || !input_->empty(), "7: an empty input_ is kept");
  WEIR_DCHECK(!input_ || open || status_.settle_queued, "7: a closing connection keeps input_");
  WEIR_DCHECK(state_ != State::lingering || status_.write_side == WriteSide::finished,
              "8: lingers before its FIN");
  WEIR_DCHECK(status_.write_side != WriteSide::failed || (open && !output_waits()),
              "8: output waits that cannot be sent");
  WEIR_DCHECK(status_.indirect == (transport() != nullptr || pump() != nullptr),
              "9: indirect differs from the transport and the pump");
}

}  // namespace weir::internal
