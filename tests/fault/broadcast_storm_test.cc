// A broadcast to thousands of which some never read: the others get everything in order, and memory
// stays under a bound that can be written down.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "support/echo_server.h"
#include "support/loops.h"
#include "support/memory.h"
#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/stream/buffer_budget.h"

namespace weir::test {
namespace {

constexpr std::size_t kMembers = kSanitized ? 200 : 2000;
constexpr std::size_t kStopped = 20;  // of them never read
constexpr std::size_t kMessages = 1000;
constexpr std::size_t kMessage = 1024;
constexpr std::size_t kLot = 50;  // messages between which the sender waits for those who read
constexpr std::uint64_t kHigh = 128 * kMessage;

// A queued message costs what it carries and its segment. Those who read have a lot waiting at
// most; those who do not are slow from the message on that reaches kHigh, and then get no more.
constexpr std::uint64_t kSegment = 64;
constexpr std::uint64_t kBound = (kMembers - kStopped) * kLot * (kMessage + kSegment) +
                                 kStopped * (kHigh / kMessage + 1) * (kMessage + kSegment);
// What is really held: each message once, and for each receiver its segments; the rest is queues,
// the thread's spare ones and the heap's own needs.
constexpr std::int64_t kRealBound =
    kMessages * (kMessage + kSegment) +
    ((kMembers - kStopped) * kLot + kStopped * (kHigh / kMessage + 1)) * kSegment +
    kMembers * 1024 + 8 * 1024 * 1024;
static_assert(kMembers * kLot * kMessage > 2 * kRealBound || kSanitized);  // copies would be found

std::string message(std::size_t number) {
  std::string text = std::to_string(number);
  text.resize(kMessage, static_cast<char>('a' + number % 26));
  return text;
}

// All messages one after the other: what everybody who reads must get.
const std::string& all_messages() {
  static const std::string all = [] {
    std::string bytes;
    bytes.reserve(kMessages * kMessage);
    for (std::size_t i = 0; i < kMessages; ++i) bytes += message(i);
    return bytes;
  }();
  return all;
}

// Made before any test, so that it is nobody's leak.
[[maybe_unused]] const std::string& made = all_messages();

// A client that reads what comes and compares it.
struct Reader final : IoHandler {
  Reader(EventLoop& loop, const SocketAddress& server, std::uint64_t& sum)
      : client(server), total(sum), channel(loop, client.fd(), *this, Trigger::level) {
    channel.set_reading(true);
  }
  void on_ready(std::uint32_t) override {
    static char block[64 * 1024];
    const ssize_t n = ::recv(client.fd(), block, sizeof block, MSG_DONTWAIT);
    if (n <= 0) {
      ended = true;
      channel.set_reading(false);
      return;
    }
    const auto size = static_cast<std::size_t>(n);
    if (std::string_view(block, size) != std::string_view(all_messages()).substr(at, size)) {
      wrong = true;
    }
    at += size;
    total += size;
  }
  void on_interest_refused(Errno) override { ended = true; }

  TestClient client;
  std::uint64_t& total;
  Channel channel;
  std::size_t at = 0;
  bool wrong = false;
  bool ended = false;
};

void broadcast_to_all(SlowPolicy policy) {
  raise_descriptor_limit();
  ASSERT_EQ(all_messages().size(), kMessages * kMessage);
  EventLoop loop;
  Broadcast room(policy);
  EchoServer echo(loop, {.threads = 2, .high_water = kHigh});
  echo.server.on_open([&](TcpConnection& c) {
    const int bytes = 16 * 1024;  // what the kernel keeps is not what is measured
    static_cast<void>(::setsockopt(c.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
    room.join(c);
  });
  const SocketAddress where = echo.listen();
  serve_while(loop, [&] {
    EventLoop clients;
    std::uint64_t total = 0;
    std::vector<std::unique_ptr<Reader>> readers;
    std::vector<TestClient> stopped(kStopped);
    for (TestClient& client : stopped) {
      client.set_buffers(0, 4096);
      ASSERT_TRUE(client.connect(where));
    }
    while (readers.size() < kMembers - kStopped) {
      readers.push_back(std::make_unique<Reader>(clients, where, total));
    }
    ASSERT_TRUE(wait_until([&] { return room.stats().members == kMembers; }));

    const std::int64_t before = resident_memory();
    std::uint64_t most = 0;
    std::int64_t most_resident = 0;
    for (std::size_t sent = 0; sent < kMessages;) {
      for (std::size_t i = 0; i < kLot; ++i) room.send(SharedBytes::copy(message(sent++)));
      const std::uint64_t expected = readers.size() * sent * kMessage;
      ASSERT_TRUE(run_until(
          clients,
          [&] {
            most = std::max({most, echo.server.stats().buffered, buffered_bytes()});
            most_resident = std::max(most_resident, resident_memory() - before);
            return total == expected;
          },
          std::chrono::seconds(60)));
    }
    for (const auto& reader : readers) {
      EXPECT_FALSE(reader->wrong || reader->ended);
      EXPECT_EQ(reader->at, kMessages * kMessage);
    }
    EXPECT_LE(most, kBound);
    if (!kSanitized) {
      EXPECT_LE(most_resident, kRealBound);
    }
    ::testing::Test::RecordProperty("buffered", std::to_string(most));
    ::testing::Test::RecordProperty("resident", std::to_string(most_resident));

    const Broadcast::Stats stats = room.stats();
    if (policy == SlowPolicy::close) {
      EXPECT_EQ(stats.closed, kStopped);
      EXPECT_TRUE(wait_until([&] { return room.stats().members == kMembers - kStopped; }));
      EXPECT_EQ(echo.closed_for(CloseReason::Kind::output_overflow), kStopped);
    } else {
      EXPECT_EQ(stats.members, kMembers);
      EXPECT_EQ(stats.closed, 0u);
      const std::size_t waiting = policy == SlowPolicy::latest_only ? kStopped : 0;
      EXPECT_EQ(stats.delivered + stats.skipped + waiting, kMembers * kMessages);
      EXPECT_GT(stats.skipped, kStopped * kMessages / 2);
      for (TestClient& client : stopped) {  // what was not left out is there, whole and in order
        std::string got;
        const auto newest = [&] {
          got += client.receive_exactly(64 * 1024, Duration::zero());
          return policy == SlowPolicy::latest_only
                     ? got.ends_with(message(kMessages - 1))
                     : got.size() >= kHigh && got.size() % kMessage == 0;
        };
        EXPECT_TRUE(wait_until(newest));
        EXPECT_EQ(got.size() % kMessage, 0u);
        const std::size_t kept =
            got.size() - (policy == SlowPolicy::latest_only ? kMessage : std::size_t{0});
        EXPECT_TRUE(std::string_view(got).substr(0, kept) ==
                    std::string_view(all_messages()).substr(0, kept));
      }
    }
    readers.clear();
    stopped.clear();
    EXPECT_TRUE(wait_until([&] { return echo.server.connection_count() == 0; }));
    EXPECT_EQ(echo.server.stats().buffered, 0u);
    EXPECT_EQ(room.stats().members, 0u);
  });
}

TEST(BroadcastStorm, F25_SkipHoldsTheBoundAndTheOthersMissNothing) {
  broadcast_to_all(SlowPolicy::skip);
}

TEST(BroadcastStorm, F25_LatestOnlyHoldsTheBoundAndTheOthersMissNothing) {
  broadcast_to_all(SlowPolicy::latest_only);
}

TEST(BroadcastStorm, F25_CloseHoldsTheBoundAndTheOthersMissNothing) {
  broadcast_to_all(SlowPolicy::close);
}

}  // namespace
}  // namespace weir::test
