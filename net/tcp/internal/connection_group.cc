#include "weir/net/tcp/internal/connection_group.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "weir/base/check.h"
#include "weir/base/log.h"

namespace weir::internal {

ConnectionGroup::ConnectionGroup(EventLoop& on, const ConnectionLimits& with,
                                 std::shared_ptr<ConnectionHandler> tells,
                                 std::shared_ptr<OpenCount> open_count)
    : loop(on),
      limits(with),
      handler(std::move(tells)),
      io(LoopIo::of(on)),
      read_at_once(
          std::min<std::uint64_t>({io->receive_block.size(), with.max_input, with.high_water})),
      gather_at_once(std::min<std::uint64_t>(LoopIo::kGatherBlock, with.high_water - 1)),
      open_count_(std::move(open_count)) {}

ConnectionGroup::~ConnectionGroup() {
  WEIR_CHECK(connections_.empty(), "a group of connections destroyed before its connections");
}

void ConnectionGroup::adopt(Fd fd) {
  TcpConnection* connection = nullptr;
  try {
    connection = new TcpConnection(*this, std::move(fd));  // frees itself in on_reap()
    connections_.push_back(*connection);
    ++opened;
    if (watcher_ != nullptr) watcher_->on_adopted(*connection);
    connection->open();
  } catch (const std::bad_alloc&) {  // not the handler's: that ends in handler_threw
    WEIR_LOG_LIMITED(error, 1, "no memory for a connection: it is closed");
    if (connection == nullptr) {
      open_count_->open.fetch_sub(1, std::memory_order_relaxed);
    } else {
      connection->reset({CloseReason::Kind::io_error, Errno(ENOMEM)});
    }
  }
}

void ConnectionGroup::stop_gracefully() {
  for (TcpConnection& connection : connections_) connection.stop_gracefully();
}

void ConnectionGroup::abort_all() {
  for (TcpConnection& connection : connections_) {
    connection.reset({CloseReason::Kind::server_stopped, {}});
  }
}

void ConnectionGroup::orphan_all() {
  for (TcpConnection& connection : connections_) {
    connection.forget_handler();
    connection.reset({CloseReason::Kind::server_stopped, {}});
  }
}

void ConnectionGroup::when_empty(std::move_only_function<void()> callback) {
  if (connections_.empty()) {
    callback();
  } else {
    when_empty_ = std::move(callback);
  }
}

void ConnectionGroup::remove(TcpConnection& connection) {
  connection.ListHook<GroupTag>::unlink();
  open_count_->open.fetch_sub(1, std::memory_order_relaxed);
  if (watcher_ != nullptr) watcher_->on_ended(connection, connection.reason_);
  if (connections_.empty() && when_empty_) std::exchange(when_empty_, nullptr)();
}

}  // namespace weir::internal
