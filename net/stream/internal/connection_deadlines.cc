// Connection: its deadlines, in the loop's idle wheel. A message only stores the tick; when the
// armed deadline is reached, on_deadline() checks whether it has moved meanwhile.
#include <cerrno>

#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/connection_inline.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

namespace {

// Memory of input that is mostly empty is freed when the tick is next a multiple of this, within
// about a second. A multiple, so that arming a deadline again does not postpone it.
constexpr Tick kSlackTicks = 128;

}  // namespace

// Calls fn(which, since, due) for each deadline that runs now, in order of precedence. If `since`
// is the tick of a turn in which a callback held the loop, `due` counts from the end of that turn.
// Arming and expiry both use this list, so that only deadlines that run are armed. The deadlines of
// the peer do not run while its bytes are not read, or while an answer is owed to it.
template <typename Fn>
void Connection::each_deadline(Fn&& fn) {
  const ConnectionLimits& limits = group_->limits;
  const bool waits_for_us = pauses_ > 0 || holds_ > 0 || starved();
  const auto consider = [&](Deadline which, Tick& since, Tick allowed) {
    if (allowed != 0) fn(which, since, core().latest(since) + allowed);
  };
  switch (state_) {
    case State::open:
      if (tick_reached(core().latest(last_activity_), core().latest(last_read_))) {
        last_activity_ = last_read_;
      }
      if (status_.want_write) consider(Deadline::write_stall, write_progress_, limits.write_stall);
      if (bytes_in_ == 0 && !waits_for_us) {
        consider(Deadline::first_byte, since_, limits.first_byte);
      }
      if (may_read()) {
        // Listed even without input_, so that a message that begins later need not arm it.
        if (!input_) message_since_ = now();
        consider(Deadline::message, message_since_, message_limit());
      }
      if (may_read() && !waits_for_us) consider(Deadline::read_idle, last_read_, limits.read_idle);
      if (!waits_for_us) {
        consider(Deadline::idle, last_activity_, extras_ ? extras_->idle : limits.idle);
      }
      if (!status_.want_write && accepts_output()) {
        consider(Deadline::heartbeat, write_progress_, limits.heartbeat);
      }
      break;
    case State::closing:
      consider(Deadline::drain, write_progress_, limits.drain);
      consider(Deadline::drain, since_, limits.drain_limit);
      break;
    case State::lingering:
      consider(Deadline::linger, since_, limits.linger);
      break;
    case State::opening:
      consider(Deadline::handshake, since_, limits.handshake);
      break;
    case State::closed:
      break;
  }
}

void Connection::arm_deadline() {
  if (state_ == State::closed) return;  // the reap list uses the link
  Tick earliest = 0;
  bool any = false;
  const auto consider = [&](Deadline, Tick, Tick due) {
    if (!any || !tick_reached(earliest, due)) earliest = due;
    any = true;
  };
  each_deadline(consider);
  if (status_.slack && state_ == State::open) consider({}, {}, (now() | (kSlackTicks - 1)) + 1);
  if (any) {
    core().set_deadline(*this, earliest);
  } else {
    core().clear_deadline(*this);
  }
}

// A message only stores the tick, so the armed deadline may have moved meanwhile.
void Connection::on_deadline() {
  without_throwing([this] {
    check_deadlines();
    arm_deadline();
    settle();
  });
}

void Connection::check_deadlines() {
  if (status_.slack && input_ && mostly_empty(*input_)) input_->shrink_to_fit();
  status_.slack = false;
  Deadline passed{};
  Tick* first = nullptr;
  each_deadline([&](Deadline which, Tick& since, Tick due) {
    if (first != nullptr || !tick_reached(due, core().deadline_tick())) return;
    passed = which;
    first = &since;
  });
  if (first != nullptr) expired(passed, *first);
}

void Connection::expired(Deadline which, Tick& since) {
  switch (which) {
    case Deadline::write_stall:
      return reset({Kind::write_stall, Errno(ETIMEDOUT)});
    case Deadline::first_byte:
      return timed_out(Kind::first_byte_timeout, since);
    case Deadline::message:
      return timed_out(Kind::message_timeout, since);
    case Deadline::idle:
      return timed_out(Kind::idle_timeout, since);
    case Deadline::read_idle:
      return timed_out(Kind::read_idle_timeout, since);
    case Deadline::heartbeat:
      return call_on_heartbeat(since);
    case Deadline::drain:
      return reset({Kind::drain_timeout, Errno(ETIMEDOUT)});
    case Deadline::handshake:
      return finish({Kind::handshake_timeout, Errno(ETIMEDOUT)});
    case Deadline::linger:
      return finish(reason_);
  }
}

void Connection::call_on_heartbeat(Tick& since) {
  since = clock_now();  // also if nothing is sent
  without_throwing([&] { call_handler("on_heartbeat", [&] { handler_->on_heartbeat(*this); }); });
}

// The peer had to wait for us and may continue now: its deadlines restart.
void Connection::restart_peer_deadlines() {
  last_read_ = last_activity_ = clock_now();
  if (bytes_in_ == 0) since_ = last_read_;
  arm_deadline();
}

// A deadline that began at `since` has passed: the handler decides whether the connection closes.
void Connection::timed_out(Kind kind, Tick& since) {
  bool stays_open = false;
  without_throwing(
      [&] { call_handler("on_timeout", [&] { stays_open = handler_->on_timeout(*this, kind); }); });
  if (state_ != State::open) return;
  if (stays_open) {
    since = clock_now();
  } else {
    start_close({kind, Errno(ETIMEDOUT)});
  }
}

}  // namespace weir::internal
