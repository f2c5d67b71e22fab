// Pump: moves bytes between sockets past the handlers of their connections, as a relay's pipe does.
// A connection that has one asks it where it would otherwise read into memory, and counts the bytes
// that it holds as output that waits. [loop]
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
  // Reads from `source` and passes on what came. 0: there is nothing more for now, or it is over.
  virtual std::size_t read(Connection& source) = 0;
  // Writes what the pump holds for `sink`, with one system call.
  virtual SysResult<std::size_t> write(Connection& sink) = 0;
  // Bytes that the pump holds for `sink`.
  virtual std::size_t held(const Connection& sink) const = 0;
  // Whether `sink` is to be treated as above its high mark, and as below its low one.
  virtual bool full(const Connection& sink) const = 0;
  virtual bool drained(const Connection& sink) const = 0;
  // `connection` begins to close for this reason.
  virtual void closing(Connection& connection, CloseReason reason) = 0;
  // All output of `connection` was sent. False: the pump ends it, or has more to send.
  virtual bool may_end(Connection& connection) = 0;
  // The output of `sink` has failed: what is held for it is of no use.
  virtual void discard(const Connection& sink) = 0;
  // Ends all of its connections at once.
  virtual void cancel() = 0;
  // The owner of this group is destroyed, and the group follows: it calls nothing of either any
  // more.
  virtual void forget(const ConnectionGroup& group) = 0;

 protected:
  ~Pump() = default;
};

}  // namespace weir::internal
