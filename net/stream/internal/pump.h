// Pump: moves bytes between sockets without the handlers of their connections, as a relay does. A
// connection that has a pump calls it instead of reading into memory, and counts the bytes that it
// holds as waiting output. [loop]
#pragma once

#include <cstddef>

#include "weir/base/result.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/connection_state.h"

namespace weir::internal {

class Connection;
class ConnectionGroup;

class Pump {
 public:
  // Reads from `source` and passes the bytes on. 0: nothing more can be read now, or the input has
  // ended.
  virtual std::size_t read(Connection& source) = 0;
  // Writes what the pump holds for `sink`, with one system call.
  virtual SysResult<std::size_t> write(Connection& sink) = 0;
  // Bytes that the pump holds for `sink`.
  virtual std::size_t held(const Connection& sink) const = 0;
  // Whether `sink` counts as above its high mark, and as below its low mark.
  virtual bool full(const Connection& sink) const = 0;
  virtual bool drained(const Connection& sink) const = 0;
  // `connection` begins to close for this reason.
  virtual void closing(Connection& connection, CloseReason reason) = 0;
  // All output of `connection` was sent. False: the pump ends it, or has more to send.
  virtual bool may_end(Connection& connection) = 0;
  // The output of `sink` has failed: discards the bytes held for it.
  virtual void discard(const Connection& sink) = 0;
  // Ends all of its connections at once.
  virtual void cancel() = 0;
  // The owner of this group is being destroyed, and then the group: the pump must not use either
  // any more.
  virtual void forget(const ConnectionGroup& group) = 0;

 protected:
  ~Pump() = default;
};

}  // namespace weir::internal
