// ConnectionExtras: members that few connections need. An ordinary connection has none. [loop]
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "weir/base/typed_context.h"
#include "weir/net/reactor/loop_client.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/stream/transport.h"

namespace weir::internal {

class Pump;

// A notification of when_sent() that is pending.
struct SentWaiter {
  std::uint64_t position;  // in the stream of output: all bytes before it must be sent first
  std::move_only_function<void(TcpConnection&, bool)> notify;
};

// A handler that the connection owned. It may be running in this turn, and notifications up to
// position `last_wait` may use it.
struct ReplacedHandler {
  std::unique_ptr<ConnectionHandler> handler;
  std::uint64_t last_wait;
};

struct ConnectionExtras {
  // ConnectionStatus::indirect is set exactly while there is one of these two.
  Pump* pump = nullptr;  // reads, and handler_ is that of the pump; never reset
  std::unique_ptr<Transport> transport;
  bool handshake_wants_write = false;
  bool read_wants_write = false;
  bool write_wants_read = false;
  bool finished = false;         // transport->finish() was called
  std::uint64_t fully_sent = 0;  // bytes_out when the transport last held nothing

  std::unique_ptr<ConnectionHandler> handler;  // owned: set_handler(unique_ptr)
  std::vector<ReplacedHandler> replaced;
  TypedContext protocol;

  // These replace the limits of the group.
  Tick idle = 0;
  Tick message = 0;

  // Ordered by position. They count as queued output, for high_water and for max_output.
  std::vector<SentWaiter> sent_waiters;
  std::uint64_t waiters_cost() const { return sent_waiters.size() * sizeof(SentWaiter); }
};

}  // namespace weir::internal
