// ConnectionExtras: what few connections have. An ordinary one has none of it. [loop]
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "weir/base/typed_context.h"
#include "weir/net/reactor/loop_client.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/transport.h"

namespace weir::internal {

class Pump;

// A call of when_sent() whose bytes have not all left.
struct SentWaiter {
  std::uint64_t position;  // in the stream of output, up to which it waits
  std::move_only_function<void(bool)> notify;
};

struct ConnectionExtras {
  // ConnectionStatus::indirect is set exactly while there is one of these two.
  Pump* pump = nullptr;  // it reads, and the connection's handler is its own; for good
  std::unique_ptr<Transport> transport;
  bool handshake_wants_write = false;
  bool read_wants_write = false;
  bool write_wants_read = false;
  bool finished = false;         // transport->finish() was called
  std::uint64_t fully_sent = 0;  // bytes_out when the transport last held nothing

  std::unique_ptr<ConnectionHandler> handler;                // set_handler() gave it to us
  std::vector<std::unique_ptr<ConnectionHandler>> replaced;  // may still run, in this turn
  TypedContext protocol;

  // In place of the group's limits.
  Tick idle = 0;
  Tick message = 0;

  // By position. output_cost() counts them, so that max_output bounds them too.
  std::vector<SentWaiter> sent_waiters;
};

}  // namespace weir::internal
