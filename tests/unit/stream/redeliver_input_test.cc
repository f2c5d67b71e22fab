// Handlers that take input piece by piece: called again in the next turn, and not while reading is
// paused.
#include <gtest/gtest.h>

#include <string>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

TEST(TcpRedeliverInput, LeftInputIsDeliveredEachTurnBeforeTheEnd) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    std::string order;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      order += in.take(1);
      if (!in.empty()) c.redeliver_input();
    };
    tcp.on.half_close = [&](TcpConnection& c) {
      order += '|';
      EXPECT_EQ(c.pending_input(), 0u);
    };
    TestClient client = tcp.connect();
    client.send_all("abcdef");
    client.shutdown_write();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(order, "abcdef|") << "all is offered before the end of the stream is read";
    EXPECT_EQ(tcp.calls.data, 6);
  }
}

TEST(TcpRedeliverInput, OneDeliveryATurn) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.consume(1);
      if (!in.empty()) c.redeliver_input();
    };
    TestClient client = tcp.connect();
    client.send_all("abcd");
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data >= 1; }));
    for (int turn = 0; tcp.calls.data < 4 && turn < 10; ++turn) {
      const int before = tcp.calls.data;
      run_turn(tcp.loop);
      EXPECT_LE(tcp.calls.data - before, 1);
    }
    EXPECT_EQ(tcp.calls.data, 4);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
  }
}

TEST(TcpRedeliverInput, WaitsWhileReadingIsPaused) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    constexpr std::size_t kHighWater = 32 * 1024;
    TcpHarness tcp({.trigger = trigger, .high_water = kHighWater});
    tcp.on.open = shrink_send_buffer;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.consume(1);
      EXPECT_LE(c.pending_output(), kHighWater / 2) << "below the low mark";
      if (tcp.calls.data == 1) {
        EXPECT_EQ(c.send(pattern(200'000)), SendResult::above_high_mark);
        EXPECT_FALSE(c.reading());
      } else if (tcp.calls.data == 2) {
        c.pause_reading();
        EXPECT_FALSE(c.reading());
      }
      if (!in.empty()) c.redeliver_input();
    };
    TestClient client = tcp.connect(0, 4096);
    client.send_all("abc");
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
    EXPECT_EQ(tcp.connection()->pending_input(), 2u);
    EXPECT_EQ(tcp.calls.data, 1) << "held back by its output";
    EXPECT_EQ(tcp.collect(client, 200'000).size(), 200'000u);
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 2; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
    EXPECT_EQ(tcp.calls.data, 2) << "paused";
    tcp.connection()->resume_reading();
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 3; }));
    EXPECT_EQ(tcp.connection()->pending_input(), 0u);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
  }
}

TEST(TcpRedeliverInput, ANewHandlerGetsTheRestWithoutItsPredecessorsProgress) {
  struct Rest final : ConnectionHandler {
    std::string got;
    std::size_t progress = 99;
    void on_data(TcpConnection&, Buffer& in) override {
      progress = in.progress();
      got += in.take();
    }
  };
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Rest rest;
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection&, Buffer& in) { in.set_progress(in.size()); };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("rest"));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
    TcpConnection& c = *tcp.connection();
    ConnectionHandler* before = c.handler();
    c.set_handler(rest);
    EXPECT_EQ(c.handler(), &rest);
    EXPECT_NE(c.handler(), before);
    c.redeliver_input();
    ASSERT_TRUE(tcp.until([&] { return rest.got == "rest"; }));
    EXPECT_EQ(rest.progress, 0u);
  }
}

// The connection that was opened last closes. What still comes is read, and so is the peer's FIN,
// long before linger_timeout.
void expect_reading_to_the_end(TcpHarness& tcp, TestClient& client) {
  const ConnectionRef ref = tcp.ref();
  ASSERT_TRUE(tcp.until([&] { return ref.get()->state() == TcpConnection::State::lingering; }));
  ASSERT_TRUE(client.send_all("more"));
  EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
  client.shutdown_write();
  EXPECT_TRUE(tcp.until_closed());
}

// The request is void then: nothing but the end of the stream is looked for.
TEST(TcpRedeliverInput, F12_ARequestBeforeACloseDoesNotKeepThePeersFinUnread) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .linger_timeout = 1h});
    tcp.on.data = [](TcpConnection& c, Buffer&) {  // leaves its input
      c.redeliver_input();
      c.close();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("x"));
    expect_reading_to_the_end(tcp, client);
  }
}

// It asks for nothing: its share of the turn is spent when it closes.
TEST(TcpRedeliverInput, F12_ASlowHandlerThatClosesDoesNotKeepThePeersFinUnread) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .linger_timeout = 1h});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.consume(1);
      while (c.reading()) {  // until a millisecond has passed
      }
      if (in.size() < 8) c.close();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("0123456789"));
    expect_reading_to_the_end(tcp, client);
  }
}

// A handler that takes messages one by one and is answered elsewhere holds for each of them. The
// FIN behind the last is read long before its turn comes.
TEST(TcpRedeliverInput, F19_MessagesLeftBehindThePeersFinAreDeliveredAtEachRelease) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      tcp.received += in.take(2);
      c.hold_open();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("a.b.c."));
    client.shutdown_write();
    ASSERT_TRUE(tcp.until([&] { return tcp.connection()->peer_half_closed(); }));
    for (const std::string_view expected : {"a.", "a.b.", "a.b.c."}) {
      ASSERT_TRUE(tcp.until([&] { return tcp.received == expected; }));
      tcp.connection()->send("answer ");
      tcp.connection()->release();
    }
    EXPECT_EQ(tcp.collect_all(client), "answer answer answer ");
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, CloseReason::Kind::peer_eof);
  }
}

// The last message is taken at the release, by a handler that then pauses: the peer's end is
// followed when it resumes.
TEST(TcpRedeliverInput, F19_APauseWhileThePeersFinWaitsEndsWithTheConnection) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      if (tcp.calls.data == 1) return c.hold_open();
      tcp.received += in.take();
      c.pause_reading();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("last"));
    client.shutdown_write();
    ASSERT_TRUE(tcp.until([&] { return tcp.connection()->peer_half_closed(); }));
    tcp.connection()->release();
    ASSERT_TRUE(tcp.until([&] { return tcp.received == "last"; }));
    tcp.turns(2);
    ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open);
    tcp.connection()->resume_reading();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, CloseReason::Kind::peer_eof);
  }
}

}  // namespace
}  // namespace weir::test
