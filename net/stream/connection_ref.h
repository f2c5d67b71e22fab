// ConnectionRef: a reference to a connection that a program may keep. Small, copyable, usable on
// any thread. It may outlive the connection, its server and its loop: its calls then do nothing.
// [any]
//
// On the thread of the connection's loop, a call acts at once and returns false if it had no
// effect. On another thread it is posted, in order: true means posted, not done; false means that
// the loop has ended.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/slot_id.h"
#include "weir/net/buffer/shared_bytes.h"

namespace WEIR_EXPORT weir {

class TcpConnection;

}  // namespace weir

namespace weir::internal {
class Connection;
class Mailbox;
class ProducerSide;
}  // namespace weir::internal

namespace WEIR_EXPORT weir {

class ConnectionRef {
 public:
  ConnectionRef() = default;  // refers to no connection

  // On another thread the bytes are copied. On the connection's thread they are copied only if
  // TcpConnection::send() would copy them.
  bool send(std::string_view bytes) const;
  bool send(SharedBytes bytes) const;
  bool shutdown() const;
  bool close() const;
  bool abort() const;
  // Calls fn with the connection on its thread, unless it has ended by then. An exception that
  // leaves fn ends the connection with handler_threw.
  bool post(std::move_only_function<void(TcpConnection&)> fn) const;

  // TcpConnection::id(), also after the connection has ended; 0 if this refers to no connection.
  std::uint64_t id() const;
  // The connection; nullptr if it has ended, or on another thread than its own. [loop]
  TcpConnection* get() const;

  friend bool operator==(const ConnectionRef& a, const ConnectionRef& b) = default;

 private:
  friend class internal::Connection;
  friend class internal::ProducerSide;
  ConnectionRef(std::shared_ptr<internal::Mailbox> mailbox, SlotId slot)
      : mailbox_(std::move(mailbox)), slot_(slot) {}
  // Runs fn(TcpConnection&) -> bool now if on its thread, else posts it.
  template <typename Fn>
  bool reach(Fn&& fn) const;
  template <typename Fn>
  static bool run_posted(TcpConnection& connection, Fn& fn);

  std::shared_ptr<internal::Mailbox> mailbox_;
  SlotId slot_;
};

}  // namespace weir

namespace weir::internal {
// Unique among the connections that exist in a process: made of the loop, the slot and its
// generation.
std::uint64_t connection_id(const Mailbox& mailbox, SlotId slot);
}  // namespace weir::internal

template <>
struct std::hash<weir::ConnectionRef> {
  std::size_t operator()(const weir::ConnectionRef& ref) const noexcept {
    return std::hash<std::uint64_t>{}(ref.id());
  }
};
