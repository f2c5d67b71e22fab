// Connection: as one side of a relay(). What its RelayPair splices does not enter memory; all
// else is as with any other connection.
#include <algorithm>
#include <cerrno>

#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/stream/internal/relay_pair.h"

namespace weir::internal {

RelayPair& Connection::relay_pair() const { return static_cast<RelayPair&>(*handler_); }

// As read_once(), by a pipe if the pair wants it.
std::size_t Connection::read_relayed() {
  if (state_ != State::open || input_ || !relay_pair().splices(*this)) return read_once();
  RelayPair& pair = relay_pair();
  const auto moved = pair.fill(*this);
  if (!moved) {
    if (moved.error() == ENOTSUP) return read_once();
    if (may_read()) input_failed(moved.error());  // else it was paused until the pipe has drained
    return 0;
  }
  if (*moved == 0) {
    input_ended();
    return 0;
  }
  note_read(*moved);
  pair.pass_on(*this);
  return *moved;
}

// What a relay may send here at once: as much as the marks, and the budget, let wait.
std::size_t Connection::output_room() {
  const ConnectionLimits& limits = group_->limits;
  const auto left = [](std::uint64_t bound, std::uint64_t used) {
    return used < bound ? bound - used : 0;
  };
  const std::uint64_t cost = output_ ? output_->cost() : 0;
  const std::uint64_t room =
      std::min(left(limits.high_water, pending_output()), left(limits.max_output, cost));
  if (within_budget(room)) return room;
  return std::min(room, left(BufferBudget::kOwnShare, cost));
}

// Its part of the low mark: the pipe, and, without a budget, half of what each may hold anyway.
bool Connection::relay_drained() const {
  return relay_pair().low_for(*this) &&
         (group_->budget.has_room(1) ||
          (output_ ? output_->cost() : 0) <= BufferBudget::kOwnShare / 2);
}

std::size_t Connection::relay_held() const { return relay_pair().held_for(*this); }

bool Connection::relay_full() const { return relay_pair().full_for(*this); }

SysResult<std::size_t> Connection::write_relayed() { return relay_pair().drain(*this); }

}  // namespace weir::internal
