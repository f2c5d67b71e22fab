// A TcpServer on a LoopHarness, with CountedEvents as its handler. [loop]
//
//   TcpHarness tcp({.allow_half_open = true});
//   tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
//   TestClient client = tcp.connect();
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "support/counted_events.h"
#include "support/loop_harness.h"
#include "support/test_client.h"
#include "support/test_transport.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

// Whether the connections of this run of the program go over TestTransport: a third column beside
// level and edge, in which the same tests must pass.
inline bool in_transport_column() { return std::getenv("WEIR_TEST_TRANSPORT") != nullptr; }
inline TcpServer::Options over_test_transport(TcpServer::Options options) {
  if (in_transport_column() && !options.transport) {
    options.transport = std::make_shared<TestTransports>();
  }
  return options;
}

class TcpHarness : public LoopHarness, public CountedEvents {
 public:
  explicit TcpHarness(TcpServer::Options options = {}, std::string_view where = "127.0.0.1:0",
                      const EventLoop::Options& loop_options = {})
      : LoopHarness(loop_options) {
    server.emplace(loop, over_test_transport(std::move(options)));
    server->use_handler(unowned());
    auto bound = server->listen(where);
    if (!bound) ADD_FAILURE() << bound.error().message();
    if (bound) address = *bound;
  }
  ~TcpHarness() override { server.reset(); }

  // A client whose connection was opened here; ref() names it. Small buffers make output wait.
  TestClient connect(int send_buffer = 0, int receive_buffer = 0) {
    TestClient client;
    client.set_buffers(send_buffer, receive_buffer);
    const std::size_t before = refs.size();
    client.connect(address);
    EXPECT_TRUE(until([&] { return refs.size() > before; }));
    return client;
  }
  [[nodiscard]] bool until_closed(int closes = 1) {
    return until([&] { return calls.close >= closes; });
  }
  // Runs the loop until the client has n more bytes, or its stream ended.
  std::string collect(TestClient& client, std::size_t n, Duration deadline = kDeadline) {
    std::string got;
    static_cast<void>(until(
        [&] {
          got += client.receive_exactly(n - got.size(), Duration::zero());
          return got.size() >= n || client.ended() != TestClient::End::open;
        },
        deadline));
    return got;
  }
  std::string collect_all(TestClient& client, Duration deadline = kDeadline) {
    return collect(client, static_cast<std::size_t>(-1), deadline);
  }

  std::optional<TcpServer> server;
  SocketAddress address;
};

// Both ways in which epoll reports readiness, for tests that must hold for both.
inline constexpr Trigger kTriggers[] = {Trigger::level, Trigger::edge};
inline const char* name(Trigger trigger) { return trigger == Trigger::edge ? "edge" : "level"; }

// Bytes that depend on their position, so that a test notices lost and swapped bytes.
inline std::string pattern(std::size_t size, std::size_t from = 0) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = from + i;
    bytes[i] = static_cast<char>((at * 2654435761U >> 13) ^ at);
  }
  return bytes;
}

// What the kernel takes of the connection's output before the rest waits in weir.
inline void set_send_buffer(const TcpConnection& connection, int bytes) {
  ASSERT_EQ(::setsockopt(connection.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}
inline void shrink_send_buffer(const TcpConnection& connection) {
  set_send_buffer(connection, 4096);
}

}  // namespace weir::test
