// Connection: its part in the budget of buffered bytes.
#include <algorithm>
#include <cerrno>

#include "weir/base/log_line.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

using Kind = CloseReason::Kind;

// Whether the budget lets this connection keep `more` bytes of output, once stalled holders have
// gone for it. What each may hold whatever others do is left to it.
bool Connection::within_budget(std::uint64_t more) {
  return output_cost() + more <= BufferBudget::kOwnShare ||
         group_->holders.make_room(*this, std::max<std::uint64_t>(more, 1));
}

void Connection::over_budget() {
  ++group_->over_budget;
  WEIR_LOG_LIMITED(warn, 1,
                   "the budget of buffered bytes is spent ({} by these connections, {} in the "
                   "process): a send is refused",
                   group_->budget.held(), buffered_bytes());
}

// Over the budget, those that hold more than their own share are not read until there is room.
void Connection::apply_budget() {
  const bool too_much = state_ == State::open && pump() == nullptr && holder_ &&
                        charged_ >= BufferBudget::kOwnShare && !group_->holders.make_room(*this, 1);
  if (too_much == starved()) return;
  if (too_much && status_.write_side == WriteSide::failed) {
    finish(reason_);  // its end would not be found
    return;
  }
  if (too_much) {
    shut_gate(ReadGate::no_budget);
  } else {
    status_.gate.lift(ReadGate::no_budget);
  }
  if (holder_) group_->holders.update(*this);
}

// Whether what it holds has not moved for `patience`, although the peer could move it: the peer
// takes none of its output, or sends nothing of the rest of a message. The kernel is asked, too: it
// may have moved bytes that this loop has not looked at yet, or does not read.
bool Connection::stalled_for(Tick patience) const {
  const auto waited = [&](Tick since) {
    return tick_reached(core().latest(since) + patience, now());
  };
  if (output_waits()) {
    return status_.want_write && waited(write_progress_) &&
           sys::unacknowledged(fd_.get()).value_or(0) > 0;
  }
  return input_ && pauses_ == 0 && holds_ == 0 && !status_.offer_input && waited(last_read_) &&
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

}  // namespace weir::internal
