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

}  // namespace
}  // namespace weir::test
