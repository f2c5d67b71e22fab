// ConnectionRef from many threads at once.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/expect_log.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr int kSends = 1500;
#else
constexpr int kSends = 100'000 / 8;
#endif
constexpr int kThreads = 8;
constexpr std::size_t kMessage = 8;

std::string message(int thread, int number) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%d%07d", thread, number);
  return {text.data(), kMessage};
}

// Each thread's messages are numbered from 0 without a gap.
void expect_order(std::string_view stream, std::array<int, kThreads>& next) {
  for (; stream.size() >= kMessage; stream.remove_prefix(kMessage)) {
    const int thread = stream[0] - '0';
    ASSERT_TRUE(thread >= 0 && thread < kThreads);
    int& expected = next[static_cast<std::size_t>(thread)];
    ASSERT_EQ(stream.substr(0, kMessage), message(thread, expected));
    ++expected;
  }
}

TEST(ConnectionRef, F34_ConcurrentSendsKeepEachThreadsOrder) {
  TcpHarness tcp({.max_output = 64 * 1024 * 1024});
  TestClient client = tcp.connect();
  const ConnectionRef ref = tcp.ref();
  std::vector<std::thread> threads;
  std::atomic<int> refused{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kSends; ++i) {
        if (!ref.send(message(t, i))) ++refused;
      }
    });
  }
  const std::string got =
      tcp.collect(client, std::size_t{kThreads} * kSends * kMessage, std::chrono::seconds(30));
  for (std::thread& thread : threads) thread.join();
  std::array<int, kThreads> next{};
  expect_order(got, next);
  for (const int count : next) EXPECT_EQ(count, kSends);
  EXPECT_EQ(refused, 0);
}

TEST(ConnectionRef, F34_ConcurrentSendsRacingCloseAndDestruction) {
  enum class End { close, abort, peer_reset, server_destroyed };
  for (const End end : {End::close, End::abort, End::peer_reset, End::server_destroyed}) {
    TcpHarness tcp({.max_output = 64 * 1024 * 1024});
    TestClient client = tcp.connect();
    const ConnectionRef ref = tcp.ref();
    std::vector<std::thread> threads;
    std::atomic<int> running{kThreads};
    std::atomic<int> sent{0};
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kSends / 4; ++i) {
          ref.send(message(t, i));
          if (++sent == kSends && end == End::close) ref.close();
          if (i % 100 == 0) ref.post([](TcpConnection& c) { c.send(std::string_view()); });
        }
        --running;
      });
    }
    std::string got;
    EXPECT_TRUE(tcp.until(
        [&] {
          if (client.is_open()) got += client.receive_for(Duration::zero());
          if (client.ended() != TestClient::End::open) client.close();
          if (sent > kSends / 2 && client.is_open()) {
            if (end == End::abort) ref.abort();
            if (end == End::peer_reset) client.reset();
            if (end == End::server_destroyed) tcp.server.reset();
          }
          return running == 0 && ref.get() == nullptr;
        },
        std::chrono::seconds(30)))
        << static_cast<int>(end);
    for (std::thread& thread : threads) thread.join();
    std::array<int, kThreads> next{};
    expect_order(got, next);
    EXPECT_EQ(got.size() % kMessage * (end == End::close ? 1 : 0), 0u);
    EXPECT_LE(tcp.calls.close, 1);
  }
}

// On a loop of the server's own nobody else could catch it.
TEST(ConnectionRef, F62_AnExceptionOfAPostedFunctionCostsItsConnectionAlone) {
  ExpectLog said("an exception left a posted function of connection");
  std::mutex mutex;
  std::vector<ConnectionRef> refs;   // mutex
  std::vector<CloseReason> reasons;  // mutex
  EventLoop loop;
  TcpServer server(loop, {.threads = 1});
  server.on_open([&](TcpConnection& connection) {
    const std::lock_guard lock(mutex);
    refs.push_back(connection.ref());
  });
  server.on_data([](TcpConnection& connection, Buffer& in) { connection.send(in); });
  server.on_close([&](TcpConnection&, CloseReason reason) {
    const std::lock_guard lock(mutex);
    reasons.push_back(reason);
  });
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  std::vector<TestClient> clients;
  for (std::size_t i = 1; i <= 3; ++i) {
    clients.emplace_back(address);
    ASSERT_TRUE(run_until(loop, [&] {
      const std::lock_guard lock(mutex);
      return refs.size() == i;
    }));
  }
  EXPECT_TRUE(refs[0].post([](TcpConnection&) { throw std::runtime_error("a bug"); }));
  EXPECT_TRUE(refs[1].post([](TcpConnection&) { throw 5; }));
  EXPECT_NE(clients[0].wait_for_end(), TestClient::End::open);
  EXPECT_NE(clients[1].wait_for_end(), TestClient::End::open);
  ASSERT_TRUE(run_until(loop, [&] { return server.connection_count() == 1; }));
  {
    const std::lock_guard lock(mutex);
    ASSERT_EQ(reasons.size(), 2u);
    for (const CloseReason reason : reasons) {
      EXPECT_EQ(reason.kind, CloseReason::Kind::handler_threw);
    }
  }
  EXPECT_TRUE(clients[2].send_all("ping"));
  EXPECT_EQ(clients[2].receive_exactly(4), "ping");
}

TEST(ConnectionRef, F62_AnExceptionOfAPostedFunctionIsTheSameOnTheLoopsThread) {
  ExpectLog said("an exception left a posted function of connection");
  TcpHarness tcp;
  TestClient client = tcp.connect();
  EXPECT_FALSE(tcp.ref().post([](TcpConnection&) { throw std::runtime_error("a bug"); }));
  ASSERT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, CloseReason::Kind::handler_threw);
}

}  // namespace
}  // namespace weir::test
