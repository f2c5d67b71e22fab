// Connection: its part in the budget of buffered bytes.
#include <algorithm>
#include <cerrno>

#include "weir/base/log_line.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

// Whether the budget lets this connection keep `more` bytes of output, after stalled holders were
// ended for it. Each connection may hold BufferBudget::kOwnShare in any case.
bool Connection::within_budget(std::uint64_t more) {
  return output_cost() + more <= BufferBudget::kOwnShare ||
         group_->holders.make_room(*this, std::max<std::uint64_t>(more, 1));
}

void Connection::report_over_budget() {
  ++group_->over_budget;
  WEIR_LOG_LIMITED(warn, 1,
                   "the budget of buffered bytes is spent ({} by these connections, {} in the "
                   "process): a send is refused",
                   group_->budget.held(), buffered_bytes());
}

// While the budget is spent, connections that hold BufferBudget::kOwnShare or more are not read.
void Connection::apply_budget() {
  const bool too_much = state_ == State::open && pump() == nullptr && holder_ &&
                        charged_ >= BufferBudget::kOwnShare && !group_->holders.make_room(*this, 1);
  if (too_much == starved()) return;
  if (too_much && status_.write_side == WriteSide::failed) {
    finish(reason_);  // without reading, its end would not be found
    return;
  }
  if (too_much) {
    shut_gate(ReadGate::no_budget);
  } else {
    status_.gate.lift(ReadGate::no_budget);
  }
  if (holder_) group_->holders.update(*this);
}

// Whether no byte that it holds has moved for `patience`, although the peer could move it: the peer
// takes no output, or does not send the rest of a message. The kernel is asked too, because it may
// have moved bytes that this loop has not seen yet, or does not read.
bool Connection::stalled_for(Tick patience) const {
  const auto waited = [&](Tick since) {
    return tick_reached(core().latest(since) + patience, now());
  };
  if (output_waits()) {
    return status_.want_write && waited(write_progress_) &&
           sys::unacknowledged(fd_.get()).value_or(0) > 0;
  }
  return input_ && pauses_ == 0 && holds_ == 0 && !status_.redeliver && waited(last_read_) &&
         sys::unread(fd_.get()).value_or(1) == 0;
}

// Others need the memory that this connection holds. Never from inside its handler.
void Connection::end_to_free_memory() {
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

}  // namespace weir::internal
