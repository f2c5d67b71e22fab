// The deadlines of a connection, with a clock that the test moves.
#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/expect_log.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "weir/net/reactor/internal/loop_core.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using namespace std::chrono_literals;

CloseReason timed_out(Kind kind) { return {kind, Errno(ETIMEDOUT)}; }

TEST(TcpDeadline, IdleTimeoutCountsFromTheLastByteEitherWay) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .idle_timeout = 60s});
    TestClient client = tcp.connect();
    for (int i = 0; i < 3; ++i) {
      pass(tcp, 50s);
      ASSERT_TRUE(client.send_all("in"));
      tcp.turns(1);
      pass(tcp, 50s);
      tcp.ref().send("out");
      tcp.turns(1);
    }
    pass(tcp, 59s);
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
    pass(tcp, 5s);  // late by a sixteenth at most
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::lingering);
    EXPECT_EQ(tcp.collect_all(client), "outoutout");
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, timed_out(Kind::idle_timeout));
  }
}

// SIGCONT interrupts the wait: that turn has looked at nobody.
TEST(TcpDeadline, F15_AStoppedProcessEndsNobodyWhoHasSent) {
  const std::vector<TcpServer::Options> kinds = {
      {.idle_timeout = 1s}, {.first_byte_timeout = 1s}, {.message_timeout = 1s}};
  for (const TcpServer::Options& options : kinds) {
    TcpHarness tcp(options);
    tcp.on.data = [](TcpConnection&, Buffer& in) {
      if (in.view().ends_with('\n')) in.consume(in.size());
    };
    std::vector<TestClient> clients;
    for (int i = 0; i < 10; ++i) clients.push_back(tcp.connect());
    if (options.message_timeout > 0s) {
      for (TestClient& client : clients) ASSERT_TRUE(client.send_all("the beginning"));
      tcp.turns(2);
    }
    for (TestClient& client : clients) ASSERT_TRUE(client.send_all(", the end\n"));
    tcp.faults.on(Call::epoll_pwait2).first(2).fail(EINTR);
    pass(tcp, 10s);
    tcp.turns(3);
    for (const ConnectionRef& ref : tcp.refs) {
      ASSERT_NE(ref.get(), nullptr);
      EXPECT_EQ(ref.get()->state(), TcpConnection::State::open);
    }
  }
}

// The wheel of the deadlines has stood still for a day when the client comes.
TEST(TcpDeadline, F32_AfterALongSleepADeadlineIsNotLate) {
  TcpHarness tcp({.first_byte_timeout = 10s});
  tcp.faults.advance_clock(24h);
  TestClient client = tcp.connect();
  pass(tcp, 9900ms);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  pass(tcp, 1s);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::lingering);
}

TEST(TcpDeadline, FirstByteTimeoutEndsOnlyTheSilent) {
  TcpHarness tcp({.first_byte_timeout = 10s});
  TestClient silent = tcp.connect();
  TestClient speaking = tcp.connect();
  ASSERT_TRUE(speaking.send_all("x"));
  tcp.turns(1);
  pass(tcp, 9900ms);
  EXPECT_EQ(tcp.refs[0].get()->state(), TcpConnection::State::open);
  pass(tcp, 1s);
  EXPECT_EQ(tcp.refs[0].get()->state(), TcpConnection::State::lingering);
  silent.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, timed_out(Kind::first_byte_timeout));
  pass(tcp, 1h);
  EXPECT_EQ(tcp.refs[1].get()->state(), TcpConnection::State::open);
}

TEST(TcpDeadline, F31_AStalledWriteIsResetAndProgressStartsItAnew) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .write_stall_timeout = 30s});
    tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    TestClient client = tcp.connect(0, 4096);
    tcp.connection()->send(pattern(500'000));
    tcp.turns(2);
    ASSERT_GT(tcp.connection()->pending_output(), 0u);
    for (int i = 0; i < 5; ++i) {
      pass(tcp, 29s);
      ASSERT_EQ(tcp.calls.close, 0);
      const std::uint64_t before = tcp.connection()->pending_output();
      ASSERT_TRUE(tcp.until([&] {
        client.receive_exactly(2000, Duration::zero());
        return tcp.connection()->pending_output() < before;
      }));
    }
    pass(tcp, 29s);
    EXPECT_EQ(tcp.calls.close, 0);
    pass(tcp, 4s);
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, timed_out(Kind::write_stall));
    EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
  }
}

// Sending more into a stalled connection is no progress.
TEST(TcpDeadline, F31_MoreOutputDoesNotHideAStall) {
  TcpHarness tcp({.write_stall_timeout = 30s});
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  tcp.connection()->send(pattern(200'000));
  tcp.turns(2);
  for (int i = 0; i < 20 && tcp.calls.close == 0; ++i) {
    pass(tcp, 6s);
    tcp.ref().send("more");
    tcp.turns(1);
  }
  ASSERT_EQ(tcp.calls.close, 1);
  EXPECT_EQ(tcp.reason->kind, Kind::write_stall);
}

TEST(TcpDeadline, ADrainedConnectionHasNoWriteStall) {
  TcpHarness tcp({.write_stall_timeout = 30s});
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  tcp.connection()->send(pattern(200'000));
  EXPECT_EQ(tcp.collect(client, 200'000).size(), 200'000u);
  tcp.turns(1);
  pass(tcp, 1h);
  EXPECT_EQ(tcp.calls.close, 0);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
}

TEST(TcpDeadline, ACloseThatCannotFlushIsResetAtTheDrainTimeout) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .drain_timeout = 30s});
    tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    TestClient client = tcp.connect(0, 4096);
    tcp.connection()->send(pattern(500'000));
    tcp.connection()->close();
    tcp.turns(2);
    pass(tcp, 29s);
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::closing);
    pass(tcp, 4s);
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, timed_out(Kind::drain_timeout));
    EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
  }
}

// The peer waits for us: it is not to blame for saying nothing.
TEST(TcpDeadline, DeadlinesOfThePeerRestWhileReadingIsPausedOrAnAnswerIsOwed) {
  for (const Trigger trigger : kTriggers) {
    for (const Kind kind :
         {Kind::idle_timeout, Kind::read_idle_timeout, Kind::first_byte_timeout}) {
      for (const bool paused : {true, false}) {
        SCOPED_TRACE(std::string(name(trigger)) + ", " + std::string(to_string(kind)) +
                     (paused ? ", paused" : ", held"));
        TcpHarness tcp({.trigger = trigger,
                        .idle_timeout = kind == Kind::idle_timeout ? 60s : 0s,
                        .read_idle_timeout = kind == Kind::read_idle_timeout ? 60s : 0s,
                        .first_byte_timeout = kind == Kind::first_byte_timeout ? 60s : 0s});
        TestClient client = tcp.connect();
        TcpConnection& c = *tcp.connection();
        paused ? c.pause_reading() : c.hold_open();
        pass(tcp, 300s);
        ASSERT_EQ(c.state(), TcpConnection::State::open);
        EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms)) << "what may not act is not armed";
        paused ? c.resume_reading() : c.release();
        pass(tcp, 59s);
        ASSERT_EQ(c.state(), TcpConnection::State::open) << "starts anew";
        pass(tcp, 5s);
        EXPECT_NE(c.state(), TcpConnection::State::open);
        client.close();
        EXPECT_TRUE(tcp.until_closed());
        EXPECT_EQ(*tcp.reason, timed_out(kind));
      }
    }
  }
}

// Both streams have ended, which epoll reports again and again, and our input is not yet read.
TEST(TcpDeadline, F08_APausedConnectionWhoseStreamsAreOverIsNoReasonToSpin) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    tcp.connection()->pause_reading();
    tcp.connection()->shutdown();
    ASSERT_TRUE(client.send_all("the end"));
    client.shutdown_write();
    tcp.turns(3);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 200ms));
    tcp.connection()->resume_reading();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.received, "the end");
    EXPECT_EQ(tcp.reason->kind, Kind::peer_eof);
  }
}

// A peer that is pushed to and has gone without a word.
TEST(TcpDeadline, F32_ReadIdleTimeoutCountsOnlyWhatComes) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .idle_timeout = 60s, .read_idle_timeout = 100s});
    TestClient client = tcp.connect();
    for (int i = 0; i < 4; ++i) {
      pass(tcp, 45s);
      tcp.ref().send("pushed");
      tcp.turns(1);
      if (i == 1) {
        ASSERT_TRUE(client.send_all("here"));
        tcp.turns(2);
      }
    }
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open) << "90 s since it spoke";
    pass(tcp, 20s);
    EXPECT_NE(tcp.connection()->state(), TcpConnection::State::open);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, timed_out(Kind::read_idle_timeout));
  }
}

TEST(TcpDeadline, OnHeartbeatIsCalledWhenNothingWasSentForItsInterval) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .heartbeat_interval = 10s});
    const int& beats = tcp.calls.heartbeat;
    tcp.on.heartbeat = [&](TcpConnection& c) {
      if (beats < 3) c.send("beat");
    };
    TestClient client = tcp.connect();
    const ConnectionRef ref = tcp.ref();
    for (int i = 0; i < 4; ++i) pass(tcp, 11s);  // also when it sends nothing
    EXPECT_EQ(beats, 4);
    for (int i = 0; i < 4; ++i) {  // what was sent for itself needs none
      pass(tcp, 8s);
      ref.send("data");
      ASSERT_TRUE(client.send_all("in"));
      tcp.turns(1);
    }
    EXPECT_EQ(beats, 4);
    shrink_send_buffer(*ref.get());
    const std::string much = pattern(3'000'000);
    ref.send(much);
    tcp.turns(2);
    ASSERT_GT(ref.get()->pending_output(), 0u);
    pass(tcp, 60s);
    EXPECT_EQ(beats, 4) << "there is something to hear already";
    EXPECT_EQ(tcp.collect(client, 24 + much.size()).size(), 24 + much.size());
    tcp.turns(2);
    pass(tcp, 11s);
    EXPECT_EQ(beats, 5) << "armed again";
    ref.get()->shutdown();
    tcp.turns(2);
    pass(tcp, 60s);
    EXPECT_EQ(beats, 5) << "nothing can be sent any more";
    EXPECT_EQ(client.receive_until_eof(), "");
  }
}

// A callback that holds the loop makes no deadline shorter that begins in it.
TEST(TcpDeadline, ADrainBeginsAtTheCloseNotAtTheTurn) {
  TcpHarness tcp({.drain_timeout = 30s});
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  tcp.loop.post([&] {
    tcp.connection()->send(pattern(500'000));
    tcp.faults.advance_clock(100s);
    tcp.connection()->close();
  });
  tcp.turns(3);
  pass(tcp, 29s);
  ASSERT_NE(tcp.connection(), nullptr);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::closing);
  pass(tcp, 4s);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, timed_out(Kind::drain_timeout));
}

TEST(TcpDeadline, ALingerBeginsAtTheFinNotAtTheTurn) {
  TcpHarness tcp({.linger_timeout = 5s});
  TestClient client = tcp.connect();
  tcp.loop.post([&] {
    tcp.faults.advance_clock(100s);
    tcp.connection()->close();
  });
  tcp.turns(2);
  pass(tcp, 4s);
  ASSERT_NE(tcp.connection(), nullptr);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::lingering);
  pass(tcp, 2s);
  EXPECT_TRUE(tcp.until_closed());
}

TEST(TcpDeadline, AStallBeginsAtTheRefusalNotAtTheTurn) {
  TcpHarness tcp({.write_stall_timeout = 30s});
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  tcp.loop.post([&] {
    tcp.faults.advance_clock(100s);
    tcp.connection()->send(pattern(500'000));
  });
  tcp.turns(2);
  pass(tcp, 29s);
  EXPECT_EQ(tcp.calls.close, 0);
  pass(tcp, 4s);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, timed_out(Kind::write_stall));
}

TEST(TcpDeadline, AMessageBeginsWhenItWasLeftNotAtTheTurn) {
  TcpHarness tcp({.message_timeout = 20s});
  tcp.on.data = [&](TcpConnection&, Buffer&) {
    if (tcp.calls.data == 1) tcp.faults.advance_clock(100s);
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("begun"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  pass(tcp, 19s);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  pass(tcp, 4s);
  EXPECT_NE(tcp.connection()->state(), TcpConnection::State::open);
}

TEST(TcpDeadline, AnotherChanceBeginsWhenTheHandlerGaveIt) {
  TcpHarness tcp({.idle_timeout = 60s});
  int asked = 0;
  tcp.on.timeout = [&](TcpConnection&, Kind) {
    tcp.faults.advance_clock(100s);
    return ++asked == 1;
  };
  TestClient client = tcp.connect();
  pass(tcp, 65s);
  EXPECT_EQ(asked, 1);
  pass(tcp, 59s);
  EXPECT_EQ(asked, 1);
  pass(tcp, 12s);  // set 160 s ahead: late by a sixteenth of that
  EXPECT_EQ(asked, 2);
}

// Between two run(), nobody moves the loop's clock.
TEST(TcpDeadline, ADeadlineBetweenTwoRunsBeginsThere) {
  TcpHarness tcp({.drain_timeout = 30s});
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  tcp.faults.advance_clock(100s);
  tcp.connection()->send(pattern(500'000));
  tcp.connection()->close();
  pass(tcp, 29s);
  ASSERT_NE(tcp.connection(), nullptr);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::closing);
}

TEST(TcpDeadline, TheHandlerHasALastWord) {
  TcpHarness tcp({.idle_timeout = 60s, .first_byte_timeout = 10s, .message_timeout = 20s});
  std::vector<Kind> told;
  tcp.on.timeout = [&](TcpConnection& c, Kind kind) {
    told.push_back(kind);
    c.send("goodbye");
    return false;
  };
  tcp.on.data = [](TcpConnection&, Buffer& in) {
    if (in.view() != "part") in.clear();
  };
  TestClient silent = tcp.connect();
  TestClient idle = tcp.connect();
  TestClient stopped = tcp.connect();
  ASSERT_TRUE(idle.send_all("all") && stopped.send_all("part"));
  tcp.turns(1);
  pass(tcp, 11s);
  EXPECT_EQ(told, (std::vector{Kind::first_byte_timeout}));
  pass(tcp, 11s);
  EXPECT_EQ(told, (std::vector{Kind::first_byte_timeout, Kind::message_timeout}));
  pass(tcp, 45s);
  EXPECT_EQ(told.size(), 3u);
  EXPECT_EQ(told.back(), Kind::idle_timeout);
  for (TestClient* client : {&silent, &idle, &stopped}) {
    EXPECT_EQ(tcp.collect_all(*client), "goodbye");
    EXPECT_EQ(client->ended(), TestClient::End::eof);
    client->close();
  }
  EXPECT_TRUE(tcp.until_closed(3));
  for (const Kind kind : told) EXPECT_EQ(tcp.server->stats().closed_by(kind), 1u);
}

TEST(TcpDeadline, TheHandlerMayLetItGoOn) {
  for (const Kind kind : {Kind::idle_timeout, Kind::read_idle_timeout, Kind::first_byte_timeout,
                          Kind::message_timeout}) {
    SCOPED_TRACE(to_string(kind));
    TcpHarness tcp({.idle_timeout = kind == Kind::idle_timeout ? 60s : 0s,
                    .read_idle_timeout = kind == Kind::read_idle_timeout ? 60s : 0s,
                    .first_byte_timeout = kind == Kind::first_byte_timeout ? 60s : 0s,
                    .message_timeout = kind == Kind::message_timeout ? 60s : 0s});
    int calls = 0;
    tcp.on.timeout = [&](TcpConnection&, Kind late) {
      EXPECT_EQ(late, kind);
      return ++calls < 3;
    };
    tcp.on.data = [](TcpConnection&, Buffer&) {};  // half a message
    TestClient client = tcp.connect();
    if (kind == Kind::message_timeout) {
      ASSERT_TRUE(client.send_all("x"));
    }
    tcp.turns(1);
    for (int i = 0; i < 3; ++i) {
      pass(tcp, 58s);
      EXPECT_EQ(calls, i);
      pass(tcp, 6s);  // late by a sixteenth at most
      EXPECT_EQ(calls, i + 1);
    }
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::lingering);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, timed_out(kind));
  }
}

TEST(TcpDeadline, TheHandlerMayEndItOtherwise) {
  TcpHarness tcp({.idle_timeout = 60s});
  tcp.on.timeout = [](TcpConnection& c, Kind) {
    c.abort();
    return true;
  };
  TestClient client = tcp.connect();
  pass(tcp, 65s);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::aborted);
  EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

TEST(TcpDeadline, AnExceptionOfTheLastWordEndsOneConnection) {
  const ExpectLog log("an exception left on_timeout");
  TcpHarness tcp({.idle_timeout = 60s});
  tcp.on.timeout = [](TcpConnection&, Kind) -> bool { throw std::runtime_error("late"); };
  TestClient client = tcp.connect();
  pass(tcp, 65s);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::handler_threw);
}

TEST(TcpDeadline, NoneIsArmedByDefaultForAnIdleConnection) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  run_turn(tcp.loop);
  pass(tcp, 24h);
  EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  EXPECT_FALSE(internal::core_of(tcp.loop).idle_wheel().next());
}

// Consumes lines, whole ones only, as a framed handler does.
void take_lines(TcpConnection& c, Buffer& in) {
  while (true) {
    const auto end = in.view().find('\n');
    if (end == std::string_view::npos) return;
    c.send(in.view().substr(0, end + 1));
    in.consume(end + 1);
  }
}

TEST(TcpDeadline, F33_ATrickledMessageEndsAtItsDeadline) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .idle_timeout = 300s, .message_timeout = 20s});
    tcp.on.data = take_lines;
    TestClient good = tcp.connect();
    TestClient client = tcp.connect();
    const ConnectionRef trickler = tcp.ref();
    for (int i = 0; i < 50; ++i) {  // whole messages, however long it goes on
      ASSERT_TRUE(client.send_all("one line\n"));
      pass(tcp, 1s);
    }
    EXPECT_EQ(trickler.get()->state(), TcpConnection::State::open);
    for (int i = 0; i < 19; ++i) {
      ASSERT_TRUE(client.send_all("x"));
      pass(tcp, 1s);
    }
    EXPECT_EQ(trickler.get()->state(), TcpConnection::State::open);
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(client.send_all("x"));
      ASSERT_TRUE(good.send_all("ping\n"));
      pass(tcp, 1s);
    }
    EXPECT_NE(trickler.get()->state(), TcpConnection::State::open);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, timed_out(Kind::message_timeout));
    EXPECT_EQ(tcp.refs[0].get()->state(), TcpConnection::State::open);
  }
}

TEST(TcpDeadline, F33_AMessageDeadlineBeginsAnewWithEachMessage) {
  TcpHarness tcp({.message_timeout = 20s});
  tcp.on.data = take_lines;
  TestClient client = tcp.connect();
  for (int i = 0; i < 10; ++i) {  // the end of one and the beginning of the next in one segment
    ASSERT_TRUE(client.send_all("the rest\nthe beginning, "));
    tcp.turns(2);
    pass(tcp, 15s);
    ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  }
  pass(tcp, 7s);
  EXPECT_NE(tcp.connection()->state(), TcpConnection::State::open);
}

// A pause by the handler is not the peer's fault.
TEST(TcpDeadline, F33_AMessageDeadlineRestsWhileReadingIsPaused) {
  TcpHarness tcp({.message_timeout = 20s});
  tcp.on.data = take_lines;
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("begun"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  tcp.connection()->pause_reading();
  pass(tcp, 100s);
  ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  tcp.connection()->resume_reading();
  pass(tcp, 19s);
  ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  pass(tcp, 4s);
  EXPECT_NE(tcp.connection()->state(), TcpConnection::State::open);
}

// Two thousand who trickle a byte now and then are all gone at the deadline, and cost the one who
// speaks properly nothing.
TEST(TcpDeadline, F33_ManyTricklersEndTogether) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kTricklers = 200;
#else
  constexpr int kTricklers = 2000;
#endif
  TcpHarness tcp({.first_byte_timeout = 10s, .message_timeout = 20s});
  tcp.on.data = take_lines;
  std::vector<TestClient> tricklers;
  for (int i = 0; i < kTricklers; ++i) tricklers.push_back(tcp.connect());
  TestClient good = tcp.connect();
  for (std::size_t second = 0; second < 27; ++second) {
    for (std::size_t i = second % 4; i < tricklers.size(); i += 4) {
      tricklers[i].send_some("x", Duration::zero());
    }
    ASSERT_TRUE(good.send_all("ping\n"));
    EXPECT_EQ(tcp.collect(good, 5), "ping\n");
    pass(tcp, 1s);
  }
  for (TestClient& client : tricklers) client.close();
  EXPECT_TRUE(tcp.until_closed(kTricklers));
  EXPECT_EQ(tcp.server->stats().closed_by(Kind::message_timeout),
            static_cast<std::uint64_t>(kTricklers));
  EXPECT_EQ(tcp.server->connection_count(), 1u);
}

}  // namespace
}  // namespace weir::test
