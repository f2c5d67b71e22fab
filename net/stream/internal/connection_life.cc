// The life of a connection. Input is in tcp_input.cc, output in tcp_output.cc, deadlines in
// tcp_deadlines.cc.
//
//            close(), idle_timeout,                  all output sent,
//            peer's FIN, server stop                 our FIN sent
//     open --------------------------> closing ------------------------> lingering
//      |                                  |                                  |
//      | reset, abort(), overflow,        | all sent and the peer's          | the peer's FIN,
//      | write_stall, exception,          | FIN was read already;            | a reset, or
//      | kernel error                     | drain_timeout, reset             | linger_timeout
//      +----------------------------------+----------------------------------+--> closed
//
// finish() makes the step to `closed`: the channel leaves epoll, the ConnectionRefs go blind, and
// the object joins the loop's reap list. on_reap() tells on_close, closes the descriptor and frees
// the object. So nothing dies inside a callback, and on_close is told exactly once.
//
// Handlers are called from call_handler() only, which is reached from the loop (on_ready, on_flush,
// on_deadline, on_reap) and never from a call of the user's.
#include "weir/net/stream/internal/connection.h"

#include <sys/epoll.h>

#include <cerrno>
#include <new>
#include <utility>

#include "weir/base/call_all.h"
#include "weir/base/check.h"
#include "weir/base/log_line.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/stream/internal/connection_limits.h"
#include "weir/net/stream/internal/relay_pair.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

namespace {

constexpr std::uint32_t kReadable = EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP | EPOLLPRI;
constexpr std::uint32_t kWritable = EPOLLOUT | EPOLLERR | EPOLLHUP;

// ENOBUFS and ENOMEM say nothing about readiness, so they are waited out by the clock. After
// kMaxBackOffs in a row (a second) the connection ends with io_error.
constexpr Duration kBackOff = std::chrono::milliseconds(20);
constexpr std::uint8_t kMaxBackOffs = 50;

}  // namespace

Connection::Connection(ConnectionGroup& group, Fd fd)
    : channel_(group.loop, fd.get(), *this, group.limits.trigger),
      group_(&group),
      handler_(group.handler.get()),
      transport_(&raw_transport()),
      last_read_(clock_now()),
      last_activity_(last_read_),
      write_progress_(last_read_),
      since_(last_read_),
      message_since_(last_read_),
      fd_(std::move(fd)) {}

// In on_close, too, so that one finds there what one kept under it.
ConnectionRef Connection::ref() const { return {loop().mailbox(), channel_.id()}; }

std::uint64_t Connection::id() const { return connection_id(*loop().mailbox(), channel_.id()); }

void Connection::set_handler(ConnectionHandler& handler) {
  WEIR_CHECK(!is_.relayed, "TcpConnection::set_handler on a connection that is relayed");
  if (auto fits = check_longest_message(handler, group_->limits); !fits) {
    WEIR_LOG_LIMITED(warn, 1, "set_handler on connection {}: {}", id(), fits.error());
  }
  handler_ = &handler;
  if (input_) input_->set_progress(0);
}

void Connection::open() {
  if (edge()) {  // registered once and for all
    channel_.set_reading(true);
    channel_.set_writing(true);
  } else {
    channel_.watch_errors();
  }
  arm_deadline();
  without_throwing([this] {
    call_handler("on_open", [this] { handler_->on_open(*this); });
    settle();
  });
}

// --- what the loop calls -------------------------------------------------------------------------

void Connection::on_ready(std::uint32_t events) {
  without_throwing([this, events] { serve(events); });
}

void Connection::serve(std::uint32_t events) {
  const bool was_calm = calm();
  if (was_calm && !edge()) [[likely]] {
    read_once();
  } else {
    if ((events & kWritable) != 0 && is_.want_write) flush_output();
    if ((events & kReadable) != 0) read_ready();
    if ((events & EPOLLERR) != 0 && !may_read() && (is_.want_write || !is_.relayed)) {
      // Neither reading nor writing will find it, and with EPOLLOUT level-triggered epoll would
      // report it for ever. SO_ERROR is asked last, because asking takes the error away from
      // recv(2), which a relay's side that rests will call: it passes on what came before.
      if (const Errno error = socket_error_of(fd_.get())) output_failed(error);
    }
  }
  // What has just become calm still has to say so to epoll: no more EPOLLOUT.
  if (!was_calm || !calm()) settle();
}

void Connection::on_flush() {
  is_.settle_queued = false;
  without_throwing([this] {
    if (is_.starved) group_->holders.resume();
    flush_output();
    settle();
  });
  written_kib_ = 0;
}

void Connection::on_interest_refused(Errno error) {
  WEIR_LOG_LIMITED(error, 1, "watch a connection: epoll_ctl on fd {}: {}", fd_.get(),
                   error.message());
  finish({Kind::io_error, error});
}

// Whatever throws, the connection goes, and everybody who waits for that is told of it.
void Connection::on_reap() {
  if (is_.settle_queued) {  // the flush list still points here
    loop().reap_again(*this);
    return;
  }
  ConnectionGroup& group = *group_;
  CallAll all;
  {
    const std::unique_ptr<Connection, Remove> removed(this);
    ++group.closed[static_cast<std::size_t>(reason_.kind)];
    all([this] { call_handler("on_close", [this] { handler_->on_close(*this, reason_); }); });
    if (watched_) all([this] { end_watches(); });
    all([this] { release_producers(); });
    context_.reset();
    if (output_lost_) end_with_rst();
    fd_.reset();
    all([this, &group] { group.tell_ended(*this); });
  }
  all([&group] { group.tell_if_empty(); });
  all.rethrow_first();
}

void Connection::Remove::operator()(Connection* connection) const {
  connection->group_->remove(*connection);
  delete connection;
}

// A peer that is still there is not to take what it got for all that there was. A Unix socket has
// no RST. Of a fork, the socket is the parent's too, and goes on there.
void Connection::end_with_rst() const {
  if (loop().forked()) return;
  const linger rst{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(sys::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &rst, sizeof(rst)));
}

Tick Connection::clock_now() { return tick_of(sys::now()); }

// --- ending --------------------------------------------------------------------------------------

void Connection::shutdown() {
  loop().check_thread("TcpConnection::shutdown");
  if (state_ != State::open || is_.shutdown_wanted) return;
  stop_gathering();
  is_.shutdown_wanted = true;
  settle_later();
}

void Connection::close() {
  loop().check_thread("TcpConnection::close");
  start_close({Kind::local_close, {}});
}

void Connection::abort() {
  loop().check_thread("TcpConnection::abort");
  reset({Kind::aborted, {}});
}

void Connection::stop_gracefully() {
  if (state_ != State::open) return;
  is_.draining = true;
  if (is_.read_eof) end_if_drained();
  read_gate_changed();
}

void Connection::start_close(CloseReason reason) {
  if (state_ != State::open) return;
  if (is_.write_failed) {
    finish(reason_);
    return;
  }
  stop_gathering();
  is_.draining = false;
  state_ = State::closing;
  reason_ = reason;
  since_ = write_progress_ = clock_now();
  arm_deadline();
  settle_later();
  if (is_.relayed) relay_pair().closing(*this, reason);
}

// The next step towards `closed`, once everything is sent.
void Connection::advance_close() {
  if (pending_output() > 0) return;
  if (state_ == State::open && is_.shutdown_wanted && !is_.write_shut) {
    is_.write_shut = true;
    const bool forwarding = is_.relayed && input_;  // what was left before a relay, with its end
    if (is_.read_eof && !forwarding) {
      finish({Kind::peer_eof, {}});
    } else if (!transport_->finish_writing(fd_.get())) {
      output_failed(Errno(EPIPE));  // ENOTCONN: the peer is gone
    }
  } else if (state_ == State::closing && reason_.kind == Kind::aborted) {
    relay_pair().reset_when_delivered(*this);
  } else if (state_ == State::closing) {
    if (is_.read_eof) {
      finish(reason_);
      return;
    }
    if (!is_.write_shut && !transport_->finish_writing(fd_.get())) {
      finish(reason_);  // ENOTCONN: the peer is gone, there is nobody to linger for
      return;
    }
    is_.write_shut = true;
    state_ = State::lingering;
    since_ = clock_now();
    arm_deadline();
  }
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
  is_.starved = false;
  account();
  if (holder_) group_->holders.update(*this);
  channel_.remove();
  loop().reap_later(*this);
}

// From here on a send() has to look at the state first.
void Connection::stop_gathering() {
  if (group_->io->corked == this) group_->io->gather_limit = 0;
}

// The server is going. A relay still has to tell the other side.
void Connection::forget_handler() {
  if (is_.relayed) {
    relay_pair().forget_done();
  } else {
    handler_ = nullptr;
  }
}

void Connection::handler_threw(const char* event, const char* what) {
  WEIR_LOG_LIMITED(error, 10, "an exception left {} of connection {}, which is closed: {}", event,
                   id(), escaped(what, kMaxLoggedText));
  finish({Kind::handler_threw, {}});
}

// --- keeping things consistent -------------------------------------------------------------------

void Connection::tell_watchers() {
  const auto [begin, end] = group_->io->watchers.equal_range(this);
  for (auto watch = begin; watch != end; ++watch) watch->second->on_drained(*this);
}

void Connection::end_watches() {
  auto& watchers = group_->io->watchers;
  CallAll all;
  for (auto watch = watchers.extract(this); !watch.empty(); watch = watchers.extract(this)) {
    all([this, &watch] { watch.mapped()->on_ended(*this); });
  }
  all.rethrow_first();
}

// Brings everything that follows from the state up to date: water marks and their events, the next
// step of a close, epoll interest. Ends every call from the loop.
void Connection::settle() {
  if (state_ == State::closed) return;
  if (state_ != State::open) input_.reset();  // it is offered to nobody any more
  account();
  if (is_.blocked && below_low_mark() && !(is_.holds_producers && !within_budget(0))) {
    is_.blocked = false;
    release_producers();
    hear_peer();
    if (watched_) tell_watchers();
    if (state_ == State::open && !above_high_mark()) {
      is_.blocked_told = false;
      call_handler("on_drained", [this] { handler_->on_drained(*this); });
      is_.refilled = is_.blocked;
    }
  }
  if (above_high_mark()) {
    is_.blocked = true;
    if (!is_.blocked_told && state_ == State::open) {
      is_.blocked_told = true;
      call_handler("on_blocked", [this] { handler_->on_blocked(*this); });
    }
  }
  account();
  apply_budget();
  if (state_ != State::closed) advance_close();
  if (state_ != State::closed) follow_read_gate();
}

// A handler that fills the output up from on_drained has left no moment to read in.
void Connection::hear_peer() {
  if (!is_.refilled) return;
  is_.refilled = false;
  if (may_read() && !is_.relayed) read_ready();
}

// Over the budget, those that hold more than their own share are not read until there is room.
void Connection::apply_budget() {
  const bool starved = state_ == State::open && !is_.relayed && holder_ &&
                       charged_ >= BufferBudget::kOwnShare && !group_->holders.make_room(*this, 1);
  if (starved == is_.starved) return;
  if (starved && is_.write_failed) {
    finish(reason_);  // its end would not be found
    return;
  }
  is_.starved = starved;
  if (holder_) group_->holders.update(*this);
}

// Whether what it holds has not moved for `patience`, although the peer could move it: the peer
// takes none of its output, or sends nothing of the rest of a message. The kernel is asked, too: it
// may have moved bytes that this loop has not looked at yet, or does not read.
bool Connection::stalled_for(Tick patience) const {
  const auto waited = [&](Tick since) {
    return tick_reached(loop().latest(since) + patience, now());
  };
  if (output_waits()) {
    return is_.want_write && waited(write_progress_) &&
           sys::unacknowledged(fd_.get()).value_or(0) > 0;
  }
  return input_ && pauses_ == 0 && holds_ == 0 && !is_.offer_input && waited(last_read_) &&
         sys::unread(fd_.get()).value_or(1) == 0;
}

// The budget is spent, and others need what this one holds. Never from inside its handler.
void Connection::give_up_memory() {
  if (charged_ == 0) return;
  WEIR_LOG_LIMITED(warn, 1,
                   "the budget of buffered bytes is spent: connection {} from {}, which holds {}, "
                   "is closed",
                   id(), peer_address().to_string(), charged_);
  if (output_waits()) {
    reset({Kind::output_overflow, Errno(ENOMEM)});
    return;
  }
  start_close({Kind::input_overflow, Errno(ENOMEM)});
  input_.reset();
  account();
  apply_budget();
}

void Connection::settle_later() {
  if (is_.settle_queued || state_ == State::closed) return;
  loop().flush_later(*this);
  is_.settle_queued = true;
}

// Nothing for one that has ended: it stays in its group's list until the reap phase, so that a walk
// over the group meets it.
void Connection::update_interest() {
  if (edge() || state_ == State::closed) return;
  channel_.set_reading(may_read());
  channel_.set_writing(is_.want_write);
}

// What may_read() looks at has changed. After the connection's own handler settle() follows it.
void Connection::read_gate_changed() {
  if (group_->io->running != this && state_ != State::closed) follow_read_gate();
}

// The read gate: may_read() alone says whether the socket is read, and what follows from that is
// done here, whatever has changed it. When it opens, the peer's time begins anew, and
// edge-triggered epoll does not report again what it reported meanwhile. Also asked for is what
// epoll never reports: input of ours that is to be offered, and the end of what had arrived.
void Connection::follow_read_gate() {
  update_interest();
  const bool open = may_read();
  const bool opened = open && is_.gate_shut;
  is_.gate_shut = !open;
  if (opened) {
    message_since_ = last_read_ = clock_now();
    arm_deadline();
  }
  const bool to_the_end = is_.write_failed || (is_.draining && holds_ == 0);
  if ((opened && edge()) || (open && to_the_end) || (is_.offer_input && may_offer())) {
    want_read_again();
  }
}

void Connection::back_off(Errno error) {
  if (++back_offs_ > kMaxBackOffs) {
    finish({Kind::io_error, error});
    return;
  }
  if (is_.backing_off) return;
  is_.backing_off = true;
  is_.want_write = false;
  loop().run_after(kBackOff, [self = ref()] {
    if (TcpConnection* connection = self.get()) machine_of(*connection).retry_after_back_off();
  });
}

void Connection::retry_after_back_off() {
  is_.backing_off = false;
  settle_later();
}

}  // namespace weir::internal
