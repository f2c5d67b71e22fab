// ConnectionExtras: what few connections have. An ordinary one has none of it, and asks nothing
// about it but whether there is any. [loop]
#pragma once

#include <memory>

#include "weir/net/stream/transport.h"

namespace weir::internal {

class Pump;

struct ConnectionExtras {
  Pump* pump = nullptr;  // it reads, and the connection's handler is its own; for good

  std::unique_ptr<Transport> transport;
  bool handshake_wants_write = false;
  bool read_wants_write = false;
  bool write_wants_read = false;
  bool finished = false;  // transport->finish() was called
};

}  // namespace weir::internal
