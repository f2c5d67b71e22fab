// PerConnectionHandler: gives each new connection a handler of its own. Several loops may call it
// at the same time.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "weir/base/check.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir::internal {

class PerConnectionHandler final : public ConnectionHandler {
 public:
  using Factory = std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)>;

  explicit PerConnectionHandler(Factory factory) : factory_(std::move(factory)) {}

  void on_open(TcpConnection& connection) override {
    auto made = factory_(connection);
    WEIR_CHECK(made != nullptr, "handlers_per_connection: the factory returned no handler");
    ConnectionHandler& handler = *made;
    connection.set_handler(std::move(made));
    // Not if the factory has destroyed the server.
    if (connection.handler() == &handler) handler.on_open(connection);
  }

 private:
  const Factory factory_;
};

}  // namespace weir::internal
