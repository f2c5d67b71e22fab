// ConnectionLimits from the options of a server or client, with values out of range corrected; and
// the check whether a handler can work with them. Internal.
#pragma once

#include <algorithm>
#include <cstdint>

#include "weir/base/result.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/connection_group.h"

namespace weir::internal {

// Zero or less: no deadline.
inline Tick deadline_ticks(Duration d) { return d > Duration::zero() ? ticks_of(d) : Tick{0}; }

// Options: TcpServer's or TcpClient's.
template <typename Options>
ConnectionLimits limits_of(const Options& options) {
  const std::uint64_t max_output = std::max<std::uint64_t>(options.max_output, 1);
  return {.trigger = options.trigger,
          .overflow = options.overflow,
          .allow_half_open = options.allow_half_open,
          .high_water = std::clamp<std::uint64_t>(options.high_water, 1, max_output),
          .max_output = max_output,
          .max_input = std::max<std::uint64_t>(options.max_input, 1),
          .idle = deadline_ticks(options.idle_timeout),
          .read_idle = deadline_ticks(options.read_idle_timeout),
          .heartbeat = deadline_ticks(options.heartbeat_interval),
          .first_byte = deadline_ticks(options.first_byte_timeout),
          .message = deadline_ticks(options.message_timeout),
          .write_stall = deadline_ticks(options.write_stall_timeout),
          .linger = ticks_of(options.linger_timeout),
          .drain = ticks_of(options.drain_timeout),
          .drain_limit = deadline_ticks(options.drain_limit),
          .handshake = deadline_ticks(options.handshake_timeout)};
}

// An error if a message that this handler waits for could never be complete within these limits.
Result<void> check_longest_message(const ConnectionHandler& handler,
                                   const ConnectionLimits& limits);

}  // namespace weir::internal
