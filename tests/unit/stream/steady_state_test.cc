// The costs of a message in the steady state, counted: system calls, epoll_ctl, heap allocations;
// and the memory of a connection that went idle.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.h"
#include "support/tcp_harness.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

constexpr int kWarmUp = 50;
constexpr int kMessages = 1000;

// A stall that the machine causes is logged, which allocates: these loops do not look for stalls.
struct SteadyHarness : TcpHarness {
  explicit SteadyHarness(TcpServer::Options options = {})
      : TcpHarness(std::move(options), "127.0.0.1:0", {.stall_threshold = Duration::zero()}) {}
};

struct Counts {
  explicit Counts(const FaultTable& faults)
      : receives(faults.count(Call::recv) + faults.count(Call::recvmsg)),
        sends(faults.count(Call::send) + faults.count(Call::sendmsg)),
        controls(faults.count(Call::epoll_ctl)) {}
  Counts& operator-=(const Counts& before) {
    receives -= before.receives;
    sends -= before.sends;
    controls -= before.controls;
    return *this;
  }

  std::uint64_t receives;
  std::uint64_t sends;
  std::uint64_t controls;
  std::uint64_t allocations = 0;  // on the loop's thread
};

// After a warm-up: the client sends `text`, the loop turns once, and `text` comes back; `times`.
Counts count_echoes(TcpHarness& tcp, TestClient& client, const std::string& text, int times) {
  std::uint64_t allocations = 0;
  const auto exchange = [&] {
    ASSERT_TRUE(client.send_all(text));
    const AllocationCount count;
    run_turn(tcp.loop);
    allocations += count.on_this_thread();
    ASSERT_EQ(client.receive_exactly(text.size()), text);
  };
  for (int i = 0; i < kWarmUp; ++i) exchange();
  allocations = 0;
  const Counts before(tcp.faults);
  for (int i = 0; i < times && !::testing::Test::HasFatalFailure(); ++i) exchange();
  Counts counts(tcp.faults);
  counts -= before;
  counts.allocations = allocations;
  return counts;
}

void echo(TcpConnection& c, Buffer& in) { c.send(in); }

TEST(TcpSteadyState, PingPongIsOneReceiveOneSendNoControlNoAllocation) {
  SteadyHarness tcp;
  tcp.on.data = echo;
  TestClient client = tcp.connect();
  const Counts counts = count_echoes(tcp, client, pattern(64), kMessages);
  EXPECT_EQ(counts.receives, std::uint64_t{kMessages});
  EXPECT_EQ(counts.sends, std::uint64_t{kMessages});
  EXPECT_EQ(counts.controls, 0u);
  EXPECT_EQ(counts.allocations, 0u);
}

TEST(TcpSteadyState, PipelinedRepliesLeaveInOneSystemCall) {
  constexpr std::size_t kDepth = 32;
  constexpr std::size_t kSize = 64;
  constexpr int kBatches = 200;
  SteadyHarness tcp;
  int sends = 0;
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    for (; in.size() >= kSize; ++sends) {
      ASSERT_EQ(c.send(in.view().substr(0, kSize)), SendResult::queued);
      in.consume(kSize);
    }
  };
  TestClient client = tcp.connect();
  const Counts counts = count_echoes(tcp, client, pattern(kDepth * kSize), kBatches);
  EXPECT_EQ(sends, (kWarmUp + kBatches) * static_cast<int>(kDepth));
  EXPECT_EQ(counts.receives, std::uint64_t{kBatches});
  EXPECT_EQ(counts.sends, std::uint64_t{kBatches});
  EXPECT_EQ(counts.controls, 0u);
  EXPECT_EQ(counts.allocations, 0u);
}

// Edge-triggered reading goes on to EAGAIN: one more receive a message, and still nothing else.
TEST(TcpSteadyState, EdgeTriggeredPingPongAddsOneReceive) {
  SteadyHarness tcp({.trigger = Trigger::edge});
  tcp.on.data = echo;
  TestClient client = tcp.connect();
  const Counts counts = count_echoes(tcp, client, pattern(64), kMessages);
  EXPECT_LE(counts.receives, std::uint64_t{2 * kMessages});
  EXPECT_EQ(counts.sends, std::uint64_t{kMessages});
  EXPECT_EQ(counts.controls, 0u);
  EXPECT_EQ(counts.allocations, 0u);
}

// One encoded message for many receivers, from outside their handlers: one send each, and the
// queues come from the loop's spare ones.
TEST(TcpSteadyState, BroadcastAllocatesOnlyTheMessage) {
  constexpr std::size_t kReceivers = 20;
  SteadyHarness tcp;
  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < kReceivers; ++i) clients.push_back(tcp.connect());
  const std::string text = pattern(1000);
  std::uint64_t allocations = 0;
  const auto broadcast = [&] {
    const AllocationCount count;
    const SharedBytes message = SharedBytes::copy(text);
    for (const ConnectionRef& ref : tcp.refs) ASSERT_TRUE(ref.send(message));
    run_turn(tcp.loop);
    ASSERT_EQ(message.use_count(), 1u);
    allocations += count.on_this_thread();
    for (TestClient& client : clients) ASSERT_EQ(client.receive_exactly(text.size()), text);
  };
  for (int i = 0; i < kWarmUp; ++i) broadcast();
  allocations = 0;
  const Counts before(tcp.faults);
  constexpr int kBroadcasts = 100;
  for (int i = 0; i < kBroadcasts && !HasFatalFailure(); ++i) broadcast();
  const Counts after(tcp.faults);
  EXPECT_EQ(after.sends - before.sends, kBroadcasts * kReceivers);
  EXPECT_EQ(after.controls, before.controls);
  EXPECT_LE(allocations, std::uint64_t{kBroadcasts});
}

TEST(TcpSteadyState, AnIdleConnectionHoldsAtMost256Bytes) {
  if (!AllocationCount::available()) GTEST_SKIP() << "a sanitizer has its own operator new";
  constexpr std::size_t kConnections = 1000;
  SteadyHarness tcp;
  tcp.on.data = echo;
  tcp.refs.reserve(kConnections + kWarmUp);
  std::vector<TestClient> clients;
  clients.reserve(kConnections + kWarmUp);
  const auto add = [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      clients.push_back(tcp.connect());
      ASSERT_TRUE(clients.back().send_all("one exchange"));
      ASSERT_EQ(tcp.collect(clients.back(), 12), "one exchange");
    }
  };
  add(kWarmUp);
  const std::int64_t before = live_heap().bytes;
  add(kConnections);
  const auto each = static_cast<double>(live_heap().bytes - before) / kConnections;
  RecordProperty("bytes_per_idle_connection", std::to_string(each));
  EXPECT_LE(each, 256.0);
  EXPECT_LE(sizeof(TcpConnection), 216u) << "the heap takes the next larger block";
}

}  // namespace
}  // namespace weir::test
