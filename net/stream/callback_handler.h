// CallbackHandler: calls the functions that TcpServer::on_open() and the other setters of events
// were given. All connections share it.
#pragma once

#include <functional>

#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir::internal {

struct CallbackHandler final : ConnectionHandler {
  std::move_only_function<void(TcpConnection&)> open;
  std::move_only_function<void(TcpConnection&, Buffer&)> data;
  std::move_only_function<void(TcpConnection&)> half_close;
  std::move_only_function<void(TcpConnection&)> blocked;
  std::move_only_function<void(TcpConnection&)> drained;
  std::move_only_function<bool(TcpConnection&, CloseReason::Kind)> timeout;
  std::move_only_function<void(TcpConnection&)> heartbeat;
  std::move_only_function<void(TcpConnection&, CloseReason)> close;

  void on_open(TcpConnection& connection) override {
    if (open) open(connection);
  }
  void on_data(TcpConnection& connection, Buffer& in) override {
    if (data) {
      data(connection, in);
    } else {
      in.clear();
    }
  }
  void on_half_close(TcpConnection& connection) override {
    if (half_close) half_close(connection);
  }
  void on_blocked(TcpConnection& connection) override {
    if (blocked) blocked(connection);
  }
  void on_drained(TcpConnection& connection) override {
    if (drained) drained(connection);
  }
  bool on_timeout(TcpConnection& connection, CloseReason::Kind kind) override {
    return timeout && timeout(connection, kind);
  }
  void on_heartbeat(TcpConnection& connection) override {
    if (heartbeat) heartbeat(connection);
  }
  void on_close(TcpConnection& connection, CloseReason reason) override {
    if (close) close(connection, reason);
  }
};

}  // namespace weir::internal
