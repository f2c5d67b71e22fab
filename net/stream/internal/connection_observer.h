// ConnectionObserver: is notified of events of connections, besides their handlers. [loop]
#pragma once

#include "weir/net/stream/connection_handler.h"

namespace weir::internal {

class ConnectionObserver {
 public:
  virtual ~ConnectionObserver() = default;
  // Before on_open. Only for the observer of a group.
  virtual void on_adopted(TcpConnection&) {}
  // Its transport is ready, and on_open follows. Only for the observer of a group.
  virtual void on_opened(TcpConnection&) {}
  // The low mark was reached again; before the handler's on_drained.
  virtual void on_drained(TcpConnection&) {}
  // After on_close, from the reap phase. The last call for this connection.
  virtual void on_ended(TcpConnection&, CloseReason) {}
};

}  // namespace weir::internal
