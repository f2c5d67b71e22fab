// A TcpServer that echoes and counts its events, and clients that run on another thread. For tests
// that link weir::tcp.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support/test_client.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

// Runs `clients` on a new thread, and `loop` on this one until `clients` returns.
template <typename Fn>
void serve_while(EventLoop& loop, Fn&& clients) {
  std::thread thread([&] {
    clients();
    loop.stop();
  });
  loop.run();
  thread.join();
}

// Handlers may run on several threads.
struct EchoServer {
  explicit EchoServer(EventLoop& loop, TcpServer::Options options = {}) : server(loop, options) {
    server.on_open([this](TcpConnection&) { ++opened; });
    server.on_data([](TcpConnection& connection, Buffer& in) { connection.send(in); });
    server.on_close([this](TcpConnection&, CloseReason reason) {
      ++closed;
      ++closed_by.at(static_cast<std::size_t>(reason.kind));
    });
  }
  // Listens, or fails the test.
  SocketAddress listen(std::string_view address = "127.0.0.1:0") {
    auto bound = server.listen(address);
    if (bound) return *bound;
    ADD_FAILURE() << bound.error().message();
    return {};
  }
  std::uint64_t closed_for(CloseReason::Kind kind) const {
    return closed_by.at(static_cast<std::size_t>(kind));
  }

  std::atomic<std::uint64_t> opened{0};
  std::atomic<std::uint64_t> closed{0};
  std::array<std::atomic<std::uint64_t>, CloseReason::kKinds> closed_by{};
  TcpServer server;
};

// Sends `text` and receives the same number of bytes; true if they are the same.
inline bool echoes(TestClient& client, std::string_view text = "ping") {
  return client.send_all(text) && client.receive_exactly(text.size()) == text;
}

}  // namespace weir::test
