// The read gate: why a connection is not read, and that all goes on when it opens, whatever had
// shut it.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using State = TcpConnection::State;
using namespace std::chrono_literals;

constexpr int kMoreThan16Bits = 1 << 16;

// --- counters ------------------------------------------------------------------------------------

TEST(TcpReadGate, AsManyAnswersMayBeOwedAsRequestsFitIntoTheInput) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& c = *tcp.connection();
  for (int i = 0; i < kMoreThan16Bits; ++i) c.hold_open();
  client.shutdown_write();
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
  tcp.turns(2);
  EXPECT_EQ(c.state(), State::open) << "the FIN is followed although answers are owed";
  for (int i = 1; i < kMoreThan16Bits; ++i) c.release();
  tcp.turns(2);
  EXPECT_EQ(c.state(), State::open) << "one is owed still";
  c.send("the last");
  c.release();
  EXPECT_EQ(tcp.collect_all(client), "the last");
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::peer_eof);
}

TEST(TcpReadGate, PausesAreCountedBeyond16Bits) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    TcpConnection& c = *tcp.connection();
    for (int i = 0; i < kMoreThan16Bits; ++i) c.pause_reading();
    ASSERT_TRUE(client.send_all("later"));
    tcp.turns(3);
    for (int i = 1; i < kMoreThan16Bits; ++i) c.resume_reading();
    tcp.turns(3);
    EXPECT_EQ(tcp.calls.data, 0) << "paused once still";
    c.resume_reading();
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "later"; }));
  }
}

// --- once in a turn ------------------------------------------------------------------------------

// The answer to each message is cached: what was paused for it goes on at once.
TEST(TcpReadGate, F13_AHandlerThatPausesAndResumesForEachMessageLeavesTheTurnToOthers) {
  constexpr std::size_t kFrame = 16;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      while (in.size() >= kFrame) {
        c.pause_reading();
        if (c.pending_output() < 4096) c.send(in.view().substr(0, 1));
        in.consume(kFrame);
        c.resume_reading();
      }
    };
    TestClient other = tcp.connect();
    TestClient fast = tcp.connect();
    const std::string frames = pattern(64 * 1024 + 1);  // always a part of a frame is left
    for (int i = 0; i < 50; ++i) {
      fast.send_some(frames, Duration::zero());
      ASSERT_TRUE(other.send_all(pattern(kFrame)));
      int turns = 0;
      for (std::string echo; echo.empty() && turns < 10; ++turns) {
        const std::uint64_t before = tcp.loop.stats().events;
        run_turn(tcp.loop);
        EXPECT_LE(tcp.loop.stats().events - before, 6u)
            << "each connection from epoll once, from the requeue list once, and the wake-up";
        fast.receive_for(Duration::zero());
        echo = other.receive_exactly(1, Duration::zero());
      }
      ASSERT_LT(turns, 10);
    }
  }
}

TEST(TcpReadGate, OnePauseMoreThanResumesIsNoReasonToLookAgain) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [](TcpConnection& c, Buffer& in) {
      c.pause_reading();
      c.pause_reading();
      in.consume(1);
      c.resume_reading();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("abc"));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
    EXPECT_EQ(tcp.calls.data, 1);
  }
}

}  // namespace
}  // namespace weir::test
