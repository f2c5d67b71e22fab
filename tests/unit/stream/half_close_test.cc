// Half-closes, lingering, resets: what each side of an ending stream sees.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using namespace std::chrono_literals;

TEST(TcpConnection, F19_PeerHalfCloseAfterAnyByteDeliversEofOnceThenClosesByDefault) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    tcp.on.half_close = [](TcpConnection& c) {
      EXPECT_TRUE(c.peer_half_closed());
      EXPECT_EQ(c.send(" last words"), SendResult::queued);
    };
    for (std::size_t k = 0; k <= 64; ++k) {
      SCOPED_TRACE(std::string(name(trigger)) + " after " + std::to_string(k));
      tcp.received.clear();
      tcp.calls = {};
      tcp.on.data = [&](TcpConnection& c, Buffer& in) {
        tcp.received += in.view();
        c.send(in);
      };
      TestClient client = tcp.connect();
      const std::string bytes = pattern(k);
      client.send_all(bytes);
      client.shutdown_write();
      EXPECT_EQ(tcp.collect_all(client), bytes + " last words");
      EXPECT_EQ(client.ended(), TestClient::End::eof);
      ASSERT_TRUE(tcp.until_closed());
      EXPECT_EQ(tcp.received, bytes);
      EXPECT_EQ(tcp.calls.half_close, 1);
      EXPECT_EQ(*tcp.reason, (CloseReason{Kind::peer_eof, {}}));
    }
  }
}

// --- an answer is owed ---------------------------------------------------------------------------

TEST(HoldOpen, F19_AnAnswerThatTakesTimeFollowsThePeersFin) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.open = [](TcpConnection& c) {
      c.hold_open();
      c.hold_open();
    };
    TestClient client = tcp.connect();
    client.send_all("two questions");
    client.shutdown_write();
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
    tcp.connection()->send("one ");
    tcp.connection()->release();
    EXPECT_EQ(tcp.collect(client, 4), "one ");
    tcp.connection()->send("two");
    tcp.connection()->release();
    EXPECT_EQ(tcp.collect_all(client), "two");
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::peer_eof, {}}));
  }
}

TEST(HoldOpen, F42_AShutdownWaitsForTheAnswerAndForNobodyElse) {
  for (const Trigger trigger : kTriggers) {
    for (const bool paused : {false, true}) {
      SCOPED_TRACE(std::string(name(trigger)) + (paused ? " paused" : ""));
      TcpHarness tcp({.trigger = trigger});
      TestClient idle = tcp.connect();
      TestClient client = tcp.connect();
      TcpConnection& c = *tcp.connection();
      c.hold_open();
      if (paused) c.pause_reading();
      bool done = false;
      tcp.server->shutdown(10s, [&] { done = true; });
      EXPECT_EQ(tcp.collect_all(idle), "");
      EXPECT_EQ(idle.ended(), TestClient::End::eof);
      idle.close();
      EXPECT_TRUE(tcp.until_closed(1));
      EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
      // Bytes that come meanwhile are served at once, or later in their turn.
      ASSERT_TRUE(client.send_all("more"));
      EXPECT_EQ(tcp.until([&] { return tcp.received == "more"; }, paused ? 50ms : 10s), !paused);
      c.send("answer");
      if (paused) c.resume_reading();
      c.release();
      EXPECT_EQ(tcp.collect_all(client), "answer");
      EXPECT_EQ(client.ended(), TestClient::End::eof);
      client.close();
      EXPECT_TRUE(tcp.until([&] { return done; }));
      EXPECT_EQ(tcp.received, "more");
      EXPECT_EQ(*tcp.reason, (CloseReason{Kind::server_stopped, {}}));
    }
  }
}

TEST(HoldOpen, F69_ADeadlineDoesNotWait) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  tcp.connection()->hold_open();
  bool done = false;
  tcp.server->shutdown(50ms, [&] { done = true; });
  EXPECT_TRUE(tcp.until([&] { return done; }));
  EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

TEST(HoldOpen, OnlyKeepsFromTheOrderlyEnd) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  tcp.connection()->hold_open();
  tcp.connection()->close();
  tcp.connection()->release();
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::local_close, {}}));

  TestClient other = tcp.connect();
  EXPECT_DEATH(tcp.connection()->release(), "release without a hold_open before it");
}

// --- half-close
// -----------------------------------------------------------------------------------

TEST(TcpConnection, F19_PeerHalfCloseKeepsSendingWhenAllowed) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .allow_half_open = true});
    for (std::size_t k = 0; k <= 64; ++k) {
      SCOPED_TRACE(std::string(name(trigger)) + " after " + std::to_string(k));
      tcp.received.clear();
      tcp.calls = {};
      TestClient client = tcp.connect();
      const std::string bytes = pattern(k);
      client.send_all(bytes);
      client.shutdown_write();
      ASSERT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
      EXPECT_EQ(tcp.received, bytes);
      EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
      for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(tcp.ref().send("more"));
        EXPECT_EQ(tcp.collect(client, 4), "more");
      }
      if (k % 2 == 0) {
        tcp.ref().shutdown();
      } else {
        tcp.ref().close();
      }
      EXPECT_EQ(tcp.collect_all(client), "");
      EXPECT_EQ(client.ended(), TestClient::End::eof);
      ASSERT_TRUE(tcp.until_closed());
      EXPECT_EQ(tcp.calls.half_close, 1);
      EXPECT_EQ(tcp.reason->kind, k % 2 == 0 ? Kind::peer_eof : Kind::local_close);
    }
  }
}

TEST(TcpConnection, F19_AHalfOpenConnectionDoesNotSpin) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .allow_half_open = true});
    TestClient client = tcp.connect();
    client.shutdown_write();
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 200ms));
  }
}

// Our side first; the peer goes on sending, and its end of file ends the connection.
TEST(TcpConnection, ShutdownHalfClosesAfterWhatIsQueued) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    TestClient client = tcp.connect(0, 4096);
    EXPECT_TRUE(tcp.ref().send(pattern(200'000)));
    EXPECT_TRUE(tcp.ref().shutdown());
    EXPECT_TRUE(tcp.ref().shutdown());
    EXPECT_TRUE(tcp.collect_all(client) == pattern(200'000));
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
    client.send_all("still ");
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "still "; }));
    client.send_all("heard");
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "still heard"; }));
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::peer_eof, {}}));
    EXPECT_EQ(tcp.calls.half_close, 1);
  }
}

TEST(TcpConnection, F20_ReplyThenCloseWhileThePeerStillSendsLosesNothing) {
  for (const Trigger trigger : kTriggers) {
    for (const bool paused : {false, true}) {
      SCOPED_TRACE(std::string(name(trigger)) + (paused ? " paused" : ""));
      TcpHarness tcp({.trigger = trigger});
      const std::string reply = pattern(300'000);
      tcp.on.data = [&](TcpConnection& c, Buffer&) {
        if (paused) c.pause_reading();
        c.send(reply);
        c.close();
      };
      TestClient client = tcp.connect();
      const std::string upload = pattern(1024 * 1024);
      std::size_t sent = client.send_some(upload.substr(0, 1000));
      std::string got;
      EXPECT_TRUE(tcp.until([&] {
        sent += client.send_some(std::string_view(upload).substr(sent), Duration::zero());
        if (sent == upload.size()) got += client.receive_for(Duration::zero());
        return client.ended() != TestClient::End::open;
      }));
      EXPECT_EQ(sent, upload.size());
      EXPECT_EQ(client.ended(), TestClient::End::eof);
      EXPECT_TRUE(got == reply) << got.size() << " bytes of " << reply.size();
      EXPECT_EQ(tcp.calls.data, 1);
      EXPECT_EQ(tcp.calls.close, 0) << "lingering";
      client.close();
      EXPECT_TRUE(tcp.until_closed());
      EXPECT_EQ(*tcp.reason, (CloseReason{Kind::local_close, {}}));
    }
  }
}

TEST(TcpConnection, F20_TheLingerDeadlineEndsAPeerThatNeverCloses) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .linger_timeout = 5s});
    TestClient client = tcp.connect();
    tcp.ref().close();
    EXPECT_EQ(tcp.collect_all(client), "");
    client.send_all("and on and on");
    tcp.turns(3);
    tcp.faults.advance_clock(4900ms);
    tcp.turns(3);
    EXPECT_EQ(tcp.calls.close, 0);
    tcp.faults.advance_clock(1s);
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::local_close, {}}));
    EXPECT_EQ(tcp.received, "") << "input after close() is thrown away";
  }
}

// The reason why nothing is read when the RST comes.
enum class When { reading, paused, output_pending, blocked, after_shutdown };

TEST(TcpConnection, F22_AResetIsNeverShownAsEofAndLosesNoDataBeforeIt) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .high_water = 64 * 1024});
    tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    for (int i = 0; i < 1000; ++i) {
      const auto when = static_cast<When>(i % 5);
      const std::size_t k = static_cast<std::size_t>(i * 7 % 300);
      SCOPED_TRACE(std::string(name(trigger)) + " case " + std::to_string(i % 5) + " after " +
                   std::to_string(k));
      tcp.received.clear();
      tcp.calls = {};
      TestClient client = tcp.connect(0, 4096);
      TcpConnection& c = *tcp.connection();
      if (when == When::paused) c.pause_reading();
      if (when == When::output_pending) c.send(pattern(50'000));
      if (when == When::blocked) c.send(pattern(200'000));
      if (when == When::after_shutdown) c.shutdown();
      tcp.turns(1);
      client.send_all(pattern(k));
      if (i % 2 == 0) tcp.turns(1);
      client.reset();
      ASSERT_TRUE(tcp.until_closed());
      ASSERT_EQ(tcp.calls.close, 1);
      ASSERT_EQ(tcp.reason->kind, Kind::reset) << tcp.reason->to_string();
      ASSERT_TRUE(tcp.reason->error);
      ASSERT_EQ(tcp.calls.half_close, 0);
      ASSERT_EQ(tcp.received, when == When::paused ? "" : pattern(k));  // paused: ends at once
    }
  }
}

// A paused connection is watched for the end of its peer, which would occupy a descriptor and keep
// its work going for as long as it is paused.
TEST(TcpConnection, F07_AResetPausedConnectionEndsAtOnce) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    for (const bool half_closed : {false, true}) {
      SCOPED_TRACE(half_closed);
      TestClient client = tcp.connect();
      tcp.connection()->pause_reading();
      client.send_all("unread");
      if (half_closed) client.shutdown_write();
      EXPECT_TRUE(rests(tcp.loop, tcp.faults, 200ms));
      const int closes = tcp.calls.close;
      client.reset();
      EXPECT_TRUE(tcp.until_closed(closes + 1));
      EXPECT_EQ(tcp.received, "");
      EXPECT_EQ(tcp.reason->kind, Kind::reset);
    }
  }
}

// The peer's FIN was read, and an answer is owed: nothing is read, and nothing is sent yet.
TEST(TcpConnection, F07_APeerThatResetsWhileAnAnswerIsOwedIsNoticed) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [](TcpConnection& c, Buffer& in) {
      in.clear();
      c.hold_open();
    };
    TestClient client = tcp.connect();
    client.send_all("question");
    client.shutdown_write();
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 200ms));
    EXPECT_EQ(tcp.calls.close, 0);
    client.reset();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, Kind::reset);
  }
}

// Both FINs together are a hang-up, which epoll always reports; for a Unix socket the orderly end
// of the peer is one. The bytes before it must still be read.
TEST(TcpConnection, F07_AHangUpWithoutAnErrorNeitherSpinsNorEndsAPausedConnection) {
  for (const std::string& where : {std::string("127.0.0.1:0"), abstract_address("hang-up")}) {
    for (const Trigger trigger : kTriggers) {
      SCOPED_TRACE(where + ", " + name(trigger));
      TcpHarness tcp({.trigger = trigger}, where);
      TestClient client = tcp.connect();
      tcp.connection()->pause_reading();
      tcp.connection()->shutdown();
      client.send_all("unread");
      client.shutdown_write();
      EXPECT_TRUE(rests(tcp.loop, tcp.faults, 200ms));
      EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
      client.close();
      EXPECT_TRUE(rests(tcp.loop, tcp.faults, 200ms));
      ASSERT_EQ(tcp.calls.close, 0);
      tcp.connection()->resume_reading();
      EXPECT_TRUE(tcp.until_closed());
      EXPECT_EQ(tcp.received, "unread");
      EXPECT_EQ(tcp.reason->kind, Kind::peer_eof);
    }
  }
}

TEST(TcpConnection, ShutdownTowardsAPeerThatResetIsAReset) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    client.send_all("before");
    client.reset();
    tcp.ref().shutdown();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, Kind::reset) << tcp.reason->to_string();
    EXPECT_EQ(tcp.received, "before");
    EXPECT_EQ(tcp.calls.half_close, 0);
  }
}

}  // namespace
}  // namespace weir::test
