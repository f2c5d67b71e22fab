// A TcpServer on a loop of this thread with a fault table under it: what tests of connections are
// made of. Every event is counted; a test adds what it wants done in `on`. [loop]
//
//   TcpHarness tcp({.allow_half_open = true});
//   tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
//   TestClient client = tcp.connect();
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "support/test_client.h"
#include "support/test_transport.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

// Whether this run of the program has its connections go over TestTransport: a third column beside
// level and edge, in which the same tests must pass.
inline bool in_transport_column() { return std::getenv("WEIR_TEST_TRANSPORT") != nullptr; }
inline TcpServer::Options over_test_transport(TcpServer::Options options) {
  if (in_transport_column() && !options.transport) {
    options.transport = std::make_shared<TestTransports>();
  }
  return options;
}

class TcpHarness {
 public:
  // What a test does in the connection's events, after they were counted.
  struct Events {
    std::function<void(TcpConnection&)> open;
    std::function<void(TcpConnection&, Buffer&)> data;  // without it input is added to `received`
    std::function<void(TcpConnection&)> half_close;
    std::function<void(TcpConnection&)> blocked;
    std::function<void(TcpConnection&)> drained;
    std::function<bool(TcpConnection&, CloseReason::Kind)> timeout;
    std::function<void(TcpConnection&, CloseReason)> close;
  };
  struct Calls {
    int open = 0;
    int data = 0;
    int half_close = 0;
    int blocked = 0;
    int drained = 0;
    int close = 0;
  };

  explicit TcpHarness(TcpServer::Options options = {}, std::string_view where = "127.0.0.1:0") {
    server.emplace(loop, over_test_transport(std::move(options)));
    bind_events();
    auto bound = server->listen(where);
    if (!bound) ADD_FAILURE() << bound.error().message();
    if (bound) address = *bound;
  }
  ~TcpHarness() { server.reset(); }
  TcpHarness(const TcpHarness&) = delete;
  TcpHarness& operator=(const TcpHarness&) = delete;

  // A client whose connection was opened here; ref() names it. Small buffers make output wait.
  TestClient connect(int send_buffer = 0, int receive_buffer = 0) {
    TestClient client;
    client.set_buffers(send_buffer, receive_buffer);
    const std::size_t before = refs.size();
    client.connect(address);
    EXPECT_TRUE(until([&] { return refs.size() > before; }));
    return client;
  }
  // The connection that was opened last; null when it is gone. (Not inlined, or GCC warns of the
  // null wherever a test knows better.)
  [[gnu::noinline]] TcpConnection* connection() const {
    return refs.empty() ? nullptr : refs.back().get();
  }
  ConnectionRef ref() const { return refs.empty() ? ConnectionRef() : refs.back(); }

  [[nodiscard]] bool until(const std::function<bool()>& done, Duration deadline = kDeadline) {
    return run_until(loop, done, deadline);
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
  // Turns that do not sleep.
  void turns(int n) {
    for (int i = 0; i < n; ++i) run_turn(loop);
  }

  FaultTable faults;
  ScopedFaults use{faults};
  EventLoop loop;
  std::optional<TcpServer> server;
  SocketAddress address;

  Events on;
  Calls calls;
  std::string received;
  std::vector<ConnectionRef> refs;    // of all that were opened
  std::optional<CloseReason> reason;  // of the last on_close

 private:
  void bind_events() {
    server->on_open([this](TcpConnection& c) {
      ++calls.open;
      refs.push_back(c.ref());
      if (on.open) on.open(c);
    });
    server->on_data([this](TcpConnection& c, Buffer& in) {
      ++calls.data;
      if (on.data) {
        on.data(c, in);
      } else {
        received += in.take();
      }
    });
    server->on_half_close([this](TcpConnection& c) {
      ++calls.half_close;
      if (on.half_close) on.half_close(c);
    });
    server->on_blocked([this](TcpConnection& c) {
      ++calls.blocked;
      if (on.blocked) on.blocked(c);
    });
    server->on_drained([this](TcpConnection& c) {
      ++calls.drained;
      if (on.drained) on.drained(c);
    });
    server->on_timeout([this](TcpConnection& c, CloseReason::Kind kind) {
      return on.timeout && on.timeout(c, kind);
    });
    server->on_close([this](TcpConnection& c, CloseReason why) {
      ++calls.close;
      reason = why;
      if (on.close) on.close(c, why);
    });
  }
};

// Both ways to be told of readiness, for tests that must hold for both.
inline constexpr Trigger kTriggers[] = {Trigger::level, Trigger::edge};
inline const char* name(Trigger trigger) { return trigger == Trigger::edge ? "edge" : "level"; }

// Bytes that tell their place, so that a loss or a swap shows.
inline std::string pattern(std::size_t size, std::size_t from = 0) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = from + i;
    bytes[i] = static_cast<char>((at * 2654435761U >> 13) ^ at);
  }
  return bytes;
}

// The kernel takes little of what is sent on it, so that the rest waits here.
inline void shrink_send_buffer(const TcpConnection& connection) {
  const int bytes = 4096;
  ASSERT_EQ(::setsockopt(connection.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

// Moves the clock and lets the loop see it.
inline void pass(TcpHarness& tcp, Duration time) {
  tcp.faults.advance_clock(time);
  tcp.turns(2);
}

}  // namespace weir::test
