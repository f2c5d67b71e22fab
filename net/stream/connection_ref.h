// ConnectionRef: what one keeps of a connection. Small, copyable, usable from any thread, and may
// outlive the connection, its server and its loop: every call then does nothing and says false.
// [any]
//
// On the connection's own thread calls act at once. From another they are posted, in order; true
// then means handed over, not done.
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
  ConnectionRef() = default;  // refers to none

  // Copies the bytes, from another thread always.
  bool send(std::string_view bytes) const;
  bool send(SharedBytes bytes) const;
  bool shutdown() const;
  bool close() const;
  bool abort() const;
  // Calls fn with the connection on its thread, if it is still there then. An exception that leaves
  // fn ends the connection with handler_threw.
  bool post(std::move_only_function<void(TcpConnection&)> fn) const;

  // As TcpConnection::id(); 0 when made without a connection.
  std::uint64_t id() const;
  // [loop] The connection, nullptr when it is gone or this is another thread.
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
// Unique among live connections of a process: the loop, the slot and its generation.
std::uint64_t connection_id(const Mailbox& mailbox, SlotId slot);
}  // namespace weir::internal

template <>
struct std::hash<weir::ConnectionRef> {
  std::size_t operator()(const weir::ConnectionRef& ref) const noexcept {
    return std::hash<std::uint64_t>{}(ref.id());
  }
};
