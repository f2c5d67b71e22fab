#include "weir/net/stream/connection_ref.h"

#include <exception>
#include <string>
#include <utility>

#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/stream/internal/connection.h"

namespace weir {

namespace internal {

// 12 bits of loop, 24 of slot (16 million connections a loop), 28 of generation.
std::uint64_t connection_id(const Mailbox& mailbox, SlotId slot) {
  return (std::uint64_t{mailbox.loop_number() & 0xfff} << 52) |
         (std::uint64_t{slot.slot & 0xffffff} << 28) | (slot.generation & 0xfffffff);
}

}  // namespace internal

// The cast is valid: only connections make ConnectionRefs, and a slot id is never used twice.
TcpConnection* ConnectionRef::get() const {
  if (!mailbox_ || !mailbox_->in_loop_thread() || mailbox_->core() == nullptr) return nullptr;
  IoHandler* handler = mailbox_->core()->find_handler(slot_);
  return static_cast<internal::Connection*>(handler);
}

// An exception ends only the connection that the function was posted to.
template <typename Fn>
bool ConnectionRef::run_posted(TcpConnection& connection, Fn& fn) {
  try {
    return fn(connection);
  } catch (const std::exception& thrown) {
    internal::machine_of(connection).handler_threw("a posted function", thrown.what());
  } catch (...) {
    internal::machine_of(connection).handler_threw("a posted function", "not a std::exception");
  }
  return false;
}

template <typename Fn>
bool ConnectionRef::reach(Fn&& fn) const {
  if (!mailbox_) return false;
  if (mailbox_->in_loop_thread()) {
    TcpConnection* connection = get();
    return connection != nullptr && fn(*connection);
  }
  return mailbox_->post([ref = *this, fn = std::forward<Fn>(fn)]() mutable {
    if (TcpConnection* connection = ref.get()) run_posted(*connection, fn);
  });
}

namespace {
bool accepted(SendResult result) {
  return result == SendResult::queued || result == SendResult::above_high_mark;
}
}  // namespace

bool ConnectionRef::send(std::string_view bytes) const {
  if (TcpConnection* connection = get()) return accepted(connection->send(bytes));
  return reach([copy = std::string(bytes)](TcpConnection& connection) {
    return accepted(connection.send(copy));
  });
}

bool ConnectionRef::send(SharedBytes bytes) const {
  return reach([bytes = std::move(bytes)](TcpConnection& connection) mutable {
    return accepted(connection.send(std::move(bytes)));
  });
}

bool ConnectionRef::shutdown() const {
  return reach([](TcpConnection& connection) { return connection.shutdown(), true; });
}

bool ConnectionRef::close() const {
  return reach([](TcpConnection& connection) { return connection.close(), true; });
}

bool ConnectionRef::abort() const {
  return reach([](TcpConnection& connection) { return connection.abort(), true; });
}

bool ConnectionRef::post(std::move_only_function<void(TcpConnection&)> fn) const {
  auto call = [fn = std::move(fn)](TcpConnection& connection) mutable {
    return fn(connection), true;
  };
  if (TcpConnection* connection = get()) return run_posted(*connection, call);
  return reach(std::move(call));
}

std::uint64_t ConnectionRef::id() const {
  return mailbox_ ? internal::connection_id(*mailbox_, slot_) : 0;
}

}  // namespace weir
