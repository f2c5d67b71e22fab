// The read gate: why a connection is not read, and that all goes on when it opens, whatever had
// shut it.
#include <gtest/gtest.h>

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

// A client that writes all it has to say before it reads the answer.
std::string write_then_read(TcpHarness& tcp, TestClient& client, std::string_view request) {
  std::size_t sent = 0;
  EXPECT_TRUE(tcp.until([&] {
    sent += client.send_some(request.substr(sent), Duration::zero());
    return sent == request.size() || client.ended() != TestClient::End::open;
  })) << sent
      << " of " << request.size() << " bytes written";
  return tcp.collect_all(client);
}

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

// --- deadlines -----------------------------------------------------------------------------------

TEST(TcpReadGate, F33_AMessageDeadlineIsNotArmedWhileTheConnectionIsNotRead) {
  for (const Trigger trigger : kTriggers) {
    for (const bool paused : {true, false}) {
      SCOPED_TRACE(std::string(name(trigger)) + (paused ? ", paused" : ", over the mark"));
      TcpHarness tcp({.trigger = trigger, .message_timeout = 20s, .high_water = 32 * 1024});
      tcp.on.open = shrink_send_buffer;
      tcp.on.data = [&](TcpConnection& c, Buffer&) {  // half a message, and answers before it
        if (paused) {
          c.pause_reading();
        } else {
          c.send(pattern(500'000));
        }
      };
      TestClient client = tcp.connect(0, 4096);
      ASSERT_TRUE(client.send_all("half"));
      ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
      pass(tcp, 100s);
      EXPECT_TRUE(rests(tcp.loop, tcp.faults)) << "the deadline has passed, and may not act";
      EXPECT_EQ(tcp.connection()->state(), State::open);
      tcp.on.data = [](TcpConnection&, Buffer&) {};
      if (paused) {
        tcp.connection()->resume_reading();
      } else {
        EXPECT_EQ(tcp.collect(client, 500'000).size(), 500'000u);
      }
      tcp.turns(3);
      pass(tcp, 19s);
      EXPECT_EQ(tcp.connection()->state(), State::open) << "the peer's time begins anew";
      pass(tcp, 4s);
      EXPECT_NE(tcp.connection()->state(), State::open);
    }
  }
}

// --- what opens it -------------------------------------------------------------------------------

// What a client writes must be read when the connection closes, or each waits for the other.
TEST(TcpReadGate, AClosingConnectionIsReadWhateverHadStoppedThat) {
  enum class Way { close_paused, close_blocked, idle_blocked };
  const std::string answer = pattern(300'000);
  const std::string request = pattern(3'000'000);
  for (const Trigger trigger : kTriggers) {
    for (const Way way : {Way::close_paused, Way::close_blocked, Way::idle_blocked}) {
      SCOPED_TRACE(std::string(name(trigger)) + ", way " + std::to_string(static_cast<int>(way)));
      TcpHarness tcp({.trigger = trigger, .idle_timeout = 10s, .high_water = 64 * 1024});
      tcp.on.open = shrink_send_buffer;
      TestClient client = tcp.connect(64 * 1024, 4096);
      TcpConnection& c = *tcp.connection();
      if (way == Way::close_paused) c.pause_reading();
      c.send(answer);
      tcp.turns(2);
      client.send_some(request, Duration::zero());
      tcp.turns(2);  // what was reported of it cannot be read
      ASSERT_EQ(tcp.calls.data, 0);
      if (way == Way::idle_blocked) {
        pass(tcp, 11s);
      } else {
        c.close();
      }
      tcp.turns(1);
      ASSERT_EQ(c.state(), State::closing);
      EXPECT_EQ(write_then_read(tcp, client, request), answer);
      EXPECT_EQ(client.ended(), TestClient::End::eof);
      client.close();
      EXPECT_TRUE(tcp.until_closed());
      EXPECT_EQ(tcp.reason->kind,
                way == Way::idle_blocked ? Kind::idle_timeout : Kind::local_close);
    }
  }
}

TEST(TcpReadGate, AStoppingServerServesWhatHasArrivedForAConnectionOverItsMark) {
  constexpr std::size_t kRequests = 4096;
  const std::string answer = pattern(256);
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = 16 * 1024});
    tcp.on.open = shrink_send_buffer;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      for (; in.size() >= 16 && c.reading(); in.consume(16)) c.send(answer);
      if (!in.empty() && !c.reading()) c.redeliver_input();
    };
    TestClient client = tcp.connect(0, 4096);
    ASSERT_TRUE(client.send_all(pattern(kRequests * 16)));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.blocked > 0; }));
    bool done = false;
    tcp.server->shutdown(kDeadline, [&] { done = true; });
    EXPECT_EQ(tcp.collect_all(client).size(), kRequests * answer.size());
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    client.close();
    EXPECT_TRUE(tcp.until([&] { return done; }));
    EXPECT_EQ(tcp.reason->kind, Kind::server_stopped);
  }
}

TEST(TcpReadGate, AStoppingServerServesWhatHasArrivedForAPausedConnection) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
    TestClient client = tcp.connect();
    tcp.connection()->pause_reading();
    ASSERT_TRUE(client.send_all("arrived"));
    bool done = false;
    tcp.server->shutdown(kDeadline, [&] { done = true; });
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
    EXPECT_EQ(tcp.connection()->state(), State::open);
    tcp.connection()->resume_reading();
    EXPECT_EQ(tcp.collect_all(client), "arrived");
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    client.close();
    EXPECT_TRUE(tcp.until([&] { return done; }));
    EXPECT_EQ(tcp.reason->kind, Kind::server_stopped);
  }
}

TEST(TcpReadGate, AStoppingServerWaitsForAPausedConnectionUntilItsDeadlineOnly) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  tcp.connection()->pause_reading();
  ASSERT_TRUE(client.send_all("arrived"));
  bool done = false;
  tcp.server->shutdown(60s, [&] { done = true; });
  pass(tcp, 59s);
  EXPECT_FALSE(done);
  pass(tcp, 2s);
  EXPECT_TRUE(tcp.until([&] { return done; }));
  EXPECT_EQ(tcp.reason->kind, Kind::server_stopped);
  EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

// The peer's FIN comes while the server stops, to one that would not follow it.
TEST(TcpReadGate, AStoppingServerIsDoneWithAHalfClosedConnection) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .allow_half_open = true});
    TestClient client = tcp.connect();
    tcp.connection()->pause_reading();
    ASSERT_TRUE(client.send_all("last"));
    client.shutdown_write();
    bool done = false;
    tcp.server->shutdown(kDeadline, [&] { done = true; });
    tcp.turns(3);
    tcp.connection()->resume_reading();
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "last"; }));
    EXPECT_EQ(tcp.collect_all(client), "");
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    EXPECT_TRUE(tcp.until([&] { return done; }));
  }
}

// --- a share of the turn -------------------------------------------------------------------------

TEST(TcpReadGate, F13_AHandlerThatTakesMessagesOneByOneIsToldWhenItsShareOfTheTurnIsSpent) {
  constexpr int kMessages = 400;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    int served = 0;
    int most = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      int here = 0;
      do {
        const TimePoint end = Clock::now() + 100us;
        while (Clock::now() < end) {
        }
        in.consume(1);
        ++here;
      } while (!in.empty() && c.reading());
      served += here;
      most = std::max(most, here);
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all(pattern(kMessages)));
    EXPECT_TRUE(tcp.until([&] { return served == kMessages; })) << "what is left is offered again";
    EXPECT_LE(most, 20) << "a millisecond, and not " << most / 10.0;
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
    EXPECT_TRUE(tcp.connection()->reading()) << "outside of on_data it is about the gate alone";
  }
}

// The high mark is reached and left again within one callback, so that nobody sees the gate shut.
// Edge-triggered epoll, and a transport, report nothing again.
TEST(TcpReadGate, F12_AGateThatWasShutForAMomentLeavesNothingUnread) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = 4096});
    std::size_t came = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      if (came == 0) {
        c.send(SharedBytes::copy(pattern(8'000)));
        c.send(SharedBytes::copy(pattern(300'000)));  // is written at once, with the one before
      }
      came += in.size();
      in.clear();
    };
    TestClient client = tcp.connect();
    tcp.turns(3);
    ASSERT_TRUE(client.send_all(pattern(6'000)));
    EXPECT_TRUE(tcp.until([&] {
      static_cast<void>(client.receive_exactly(1'000'000, Duration(0)));
      return came == 6'000;
    })) << came;
  }
}

TEST(TcpReadGate, F32_ADeadlineThatIsArmedWhileTheGateIsShutIsArmedAgain) {
  for (const bool message : {false, true}) {
    SCOPED_TRACE(message);
    TcpHarness tcp({.message_timeout = message ? 0s : 10s, .high_water = 4096});
    tcp.on.data = [](TcpConnection&, Buffer&) {};  // never complete
    TestClient client = tcp.connect();
    TcpConnection& c = *tcp.connection();
    c.send(SharedBytes::copy(pattern(8'000)));
    if (message) {
      c.set_message_timeout(10s);
    } else {
      c.set_idle_timeout(1h);
    }
    EXPECT_EQ(tcp.collect(client, 8'000).size(), 8'000u);
    ASSERT_TRUE(client.send_all("part"));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
    pass(tcp, 11s);
    EXPECT_NE(c.state(), TcpConnection::State::open);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, Kind::message_timeout);
  }
}

}  // namespace
}  // namespace weir::test
