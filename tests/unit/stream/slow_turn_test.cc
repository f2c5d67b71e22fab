// A callback that holds the loop makes nobody's silence longer than it was: what is read and
// written in its turn is noted with the time at which the turn began, and may have happened at its
// end.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// Two clients speak in the same turn, and the handler of the first holds the loop for 100 s.
struct Held {
  explicit Held(TcpServer::Options options) : tcp(options), first(tcp.connect()) {
    second = tcp.connect();
    tcp.on.data = [this](TcpConnection& c, Buffer& in) {
      c.send(in);
      if (tcp.calls.data == 1) tcp.faults.advance_clock(100s);
    };
    pass(tcp, 30s);
    EXPECT_TRUE(first.send_all("a"));
    EXPECT_TRUE(second.send_all("b"));
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 2; }));
    tcp.turns(3);
  }
  std::size_t open() const {
    std::size_t count = 0;
    for (const ConnectionRef& ref : tcp.refs) {
      const TcpConnection* connection = ref.get();
      if (connection != nullptr && connection->state() == TcpConnection::State::open) ++count;
    }
    return count;
  }
  TcpHarness tcp;
  TestClient first;
  TestClient second;
};

void expect_silence_from_the_end(TcpServer::Options options) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    options.trigger = trigger;
    Held held(options);
    EXPECT_EQ(held.open(), 2u) << "who has just spoken is taken for silent";
    pass(held.tcp, 59s);
    EXPECT_EQ(held.open(), 2u);
    pass(held.tcp, 6s);  // late by a fifteenth at most
    EXPECT_EQ(held.open(), 0u);
  }
}

TEST(SlowTurn, NobodyWhoSpokeInItIsIdle) { expect_silence_from_the_end({.idle_timeout = 60s}); }

TEST(SlowTurn, NobodyWhoSpokeInItIsSilent) {
  expect_silence_from_the_end({.read_idle_timeout = 60s});
}

// Its idle_timeout is 60 s.
void expect_idle_from_now(TcpHarness& tcp) {
  pass(tcp, 59s);
  ASSERT_NE(tcp.connection(), nullptr);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  pass(tcp, 6s);
  ASSERT_NE(tcp.connection(), nullptr);  // it lingers
  EXPECT_NE(tcp.connection()->state(), TcpConnection::State::open);
}

// The answer of the slow handler itself goes out at the end.
TEST(SlowTurn, AnAnswerAtItsEndIsActivity) {
  TcpHarness tcp({.idle_timeout = 60s});
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    tcp.faults.advance_clock(50s);
    c.send(in);
  };
  TestClient client = tcp.connect();
  pass(tcp, 30s);
  ASSERT_TRUE(client.send_all("a"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  expect_idle_from_now(tcp);
}

TEST(SlowTurn, AHeartbeatIsDueAfterTheAnswerAtItsEnd) {
  TcpHarness tcp({.heartbeat_interval = 60s});
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    tcp.faults.advance_clock(50s);
    c.send(in);
  };
  TestClient client = tcp.connect();
  pass(tcp, 30s);
  ASSERT_TRUE(client.send_all("a"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  pass(tcp, 59s);
  EXPECT_EQ(tcp.calls.heartbeat, 0);
  pass(tcp, 6s);
  EXPECT_EQ(tcp.calls.heartbeat, 1);
}

// A write between two calls of run() is noted with the time of the write. The time between them
// does not belong to the last turn.
TEST(SlowTurn, TimeOutsideRunIsNobodysTurn) {
  TcpHarness tcp({.idle_timeout = 60s});
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("a"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  tcp.faults.advance_clock(50s);
  tcp.connection()->send(pattern(20'000));  // at once
  expect_idle_from_now(tcp);
}

// An idle loop that turns slowly all the time still ends who is idle.
TEST(SlowTurn, AmongManyTheIdleEndInTime) {
  TcpHarness tcp({.idle_timeout = 60s});
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("a"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  int seconds = 0;
  for (; tcp.connection()->state() == TcpConnection::State::open && seconds < 100; ++seconds) {
    tcp.loop.post([&] { tcp.faults.advance_clock(1s); });
    tcp.turns(1);
  }
  EXPECT_GE(seconds, 60);
  EXPECT_LE(seconds, 66);
}

}  // namespace
}  // namespace weir::test
