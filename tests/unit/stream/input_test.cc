// From the peer to the handler: what is left over, pauses, bounds, both triggers, fairness.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using namespace std::chrono_literals;

TEST(Input, AReceiveBlockOfNothingIsNoEndOfFile) {
  EventLoop loop({.receive_block = 0});
  TcpServer server(loop);
  std::string received;
  server.on_data([&](TcpConnection&, Buffer& in) { received += in.take(); });
  TestClient client(server.listen("127.0.0.1:0").value());
  client.send_all("ping");
  EXPECT_TRUE(run_until(
      loop, [&] { return received == "ping"; }, 1s))
      << received;
  EXPECT_EQ(server.connection_count(), 1u);
}

TEST(TcpInput, WhatIsLeftComesAgainWithMoreBehindIt) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    std::vector<std::string> seen;
    tcp.on.data = [&](TcpConnection&, Buffer& in) {
      seen.emplace_back(in.view());
      if (in.size() >= 6) in.consume(5);
    };
    TestClient client = tcp.connect();
    for (const char* part : {"abc", "def", "ghijk"}) {
      client.send_all(part);
      const std::size_t before = seen.size();
      ASSERT_TRUE(tcp.until([&] { return seen.size() > before; }));
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"abc", "abcdef", "fghijk"}));
    EXPECT_EQ(tcp.connection()->bytes_in(), 11u);
  }
}

TEST(TcpInput, F27_AHandlerThatConsumesNothingIsClosedAtTheBound) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    constexpr std::size_t kMax = 64 * 1024;
    TcpHarness tcp({.trigger = trigger, .max_input = kMax});
    std::size_t most = 0;
    std::size_t capacity = 0;
    tcp.on.data = [&](TcpConnection&, Buffer& in) {
      most = std::max(most, in.size());
      capacity = std::max(capacity, in.capacity());
    };
    TestClient client = tcp.connect();
    const std::string data = pattern(4 * 1024 * 1024);
    std::size_t sent = 0;
    EXPECT_TRUE(tcp.until([&] {
      sent += client.send_some(std::string_view(data).substr(sent), Duration::zero());
      client.receive_for(Duration::zero());
      return client.ended() != TestClient::End::open;
    }));
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::input_overflow, {}}));
    EXPECT_EQ(most, kMax);
    EXPECT_LE(capacity, 2 * kMax);
  }
}

TEST(TcpInput, F27_APausedConsumerMakesThePeerWait) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    constexpr std::size_t kMax = 64 * 1024;
    TcpHarness tcp({.trigger = trigger, .max_input = kMax});
    bool paused = true;
    tcp.on.open = [](TcpConnection& c) {
      const int size = 32 * 1024;
      ASSERT_EQ(::setsockopt(c.fd(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    };
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      ASSERT_LE(in.size(), kMax);
      if (paused) {
        c.pause_reading();
      } else {
        tcp.received += in.take();
      }
    };
    TestClient client = tcp.connect(32 * 1024, 0);
    const std::string data = pattern(2 * 1024 * 1024);
    std::size_t sent = 0;
    const auto produce = [&] {
      sent += client.send_some(std::string_view(data).substr(sent), Duration::zero());
    };
    for (int i = 0; i < 50; ++i) {
      produce();
      tcp.turns(2);
    }
    EXPECT_LT(sent, data.size() / 2) << "nothing held the peer back";
    EXPECT_LE(tcp.connection()->bytes_in(), kMax);
    EXPECT_EQ(tcp.calls.data, 1);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
    paused = false;
    tcp.connection()->resume_reading();
    EXPECT_TRUE(tcp.until([&] {
      produce();
      return tcp.received.size() == data.size();
    }));
    EXPECT_TRUE(tcp.received == data);
  }
}

// What bytes cost that come one by one and stay: a fixed number of copies each, not one for each
// that comes after them.
TEST(TcpInput, F28_OneByteFeedsLeftUnconsumedMoveALinearNumberOfBytes) {
  constexpr std::size_t kBytes = 20'000;
  TcpHarness tcp;
  std::uint64_t moved = 0;
  std::size_t size = 0;
  const std::byte* at = nullptr;
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    if (in.data() != at) moved += in.size();
    at = in.data();
    size = in.size();
  };
  TestClient client = tcp.connect();
  for (std::size_t i = 0; i < kBytes; ++i) {
    ASSERT_TRUE(client.send_all("x"));
    tcp.turns(1);
  }
  EXPECT_EQ(size, kBytes);
  EXPECT_LT(moved, 4 * kBytes);
}

// A view of the input is good for as long as the handler has not consumed it, whatever else it does
// to the connection.
TEST(TcpInput, F29_AViewOfTheInputOutlivesSendingAndClosing) {
  for (const bool leftover : {false, true}) {
    for (const int end : {0, 1, 2}) {
      TcpHarness tcp;
      bool checked = false;
      const std::string bytes = pattern(30'000);
      tcp.on.data = [&](TcpConnection& c, Buffer& in) {
        if (in.size() < bytes.size()) return;
        const std::string_view view = in.view();
        c.send(view);
        c.send(view.substr(0, 100));
        if (end == 1) c.close();
        if (end == 2) c.abort();
        EXPECT_TRUE(view == bytes);
        checked = true;
        in.clear();
      };
      TestClient client = tcp.connect();
      if (leftover) {
        client.send_all(bytes.substr(0, 10));
        ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
      }
      client.send_all(std::string_view(bytes).substr(leftover ? 10 : 0));
      ASSERT_TRUE(tcp.until([&] { return checked; }));
      if (end == 2) continue;
      EXPECT_TRUE(tcp.collect(client, 30'100) == bytes + bytes.substr(0, 100));
    }
  }
}

#ifdef WEIR_POISON
// Edge-triggered, the read that finds nothing more uses the same block.
TEST(TcpInputDeathTest, F29_AViewKeptAfterTheHandlerIsFound) {
  for (const Trigger trigger : kTriggers) {
    EXPECT_DEATH(
        {
          TcpHarness tcp({.trigger = trigger});
          std::string_view kept;
          tcp.on.data = [&](TcpConnection&, Buffer& in) {
            kept = in.view();
            in.clear();
          };
          TestClient client = tcp.connect();
          client.send_all("look at me later");
          if (!tcp.until([&] { return !kept.empty(); })) return;
          std::string copy(kept);
        },
        "AddressSanitizer: use-after-poison");
  }
}
#endif

TEST(TcpInput, PausesAreCounted) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    TcpConnection& c = *tcp.connection();
    c.pause_reading();
    c.pause_reading();
    client.send_all("x");
    tcp.turns(3);
    c.resume_reading();
    tcp.turns(3);
    EXPECT_EQ(tcp.received, "");
    c.resume_reading();
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "x"; }));
  }
}

TEST(TcpInput, InputLeftWhilePausedIsOfferedAgainOnResume) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      tcp.received += in.take(1);
      c.pause_reading();
    };
    TestClient client = tcp.connect();
    client.send_all("abc");
    for (int i = 1; i <= 3; ++i) {
      ASSERT_TRUE(tcp.until([&] { return tcp.received == std::string("abc", 0, std::size_t(i)); }));
      tcp.turns(2);
      ASSERT_EQ(tcp.calls.data, i);
      tcp.connection()->resume_reading();
    }
    tcp.turns(3);
    EXPECT_EQ(tcp.calls.data, 3);
  }
}

// The same when reading is also stopped by output over the high mark at that moment.
TEST(TcpInput, InputLeftIsOfferedAfterBackPressureEnds) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = 32 * 1024});
    tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      if (tcp.calls.data == 1) {
        c.pause_reading();
      } else {
        tcp.received += in.take();
      }
    };
    TestClient client = tcp.connect(0, 4096);
    client.send_all("abc");
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
    tcp.ref().send(pattern(200'000));
    tcp.turns(2);
    tcp.connection()->resume_reading();
    tcp.turns(3);
    EXPECT_EQ(tcp.received, "");
    EXPECT_EQ(tcp.collect(client, 200'000).size(), 200'000u);
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "abc"; }));
  }
}

// EPOLLOUT is there exactly while output waits that the socket refused.
TEST(TcpConnection, F10_OutputInterestIsArmedExactlyWhileOutputIsRefused) {
  TcpHarness tcp;
  TestClient client = tcp.connect(0, 16 * 1024);
  run_turn(tcp.loop);
  TcpConnection& c = *tcp.connection();
  int output_events = 0;
  int idle_output_events = 0;
  tcp.faults.edit_batches([&](std::vector<FaultTable::Event>& batch) {
    for (const FaultTable::Event& event : batch) {
      if ((event.events & EPOLLOUT) == 0) continue;
      ++output_events;
      if (c.pending_output() == 0) ++idle_output_events;
    }
  });
  const std::uint64_t controls = tcp.faults.count(Call::epoll_ctl);
  for (int i = 0; i < 100; ++i) {
    c.send("small");
    run_turn(tcp.loop);
  }
  EXPECT_EQ(tcp.collect(client, 500).size(), 500u);
  EXPECT_EQ(output_events, 0);
  EXPECT_EQ(tcp.faults.count(Call::epoll_ctl), controls);
  shrink_send_buffer(c);
  for (int round = 1; round <= 3; ++round) {
    c.send(pattern(200'000));
    run_turn(tcp.loop);
    run_turn(tcp.loop);
    ASSERT_GT(c.pending_output(), 0u);
    EXPECT_EQ(tcp.faults.count(Call::epoll_ctl), controls + std::uint64_t(2 * round - 1));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
    EXPECT_EQ(tcp.collect(client, 200'000).size(), 200'000u);
    run_turn(tcp.loop);
    EXPECT_EQ(c.pending_output(), 0u);
    EXPECT_EQ(tcp.faults.count(Call::epoll_ctl), controls + std::uint64_t(2 * round));
  }
  EXPECT_GT(output_events, 0);
  EXPECT_EQ(idle_output_events, 0);
  EXPECT_TRUE(rests(tcp.loop, tcp.faults, 100ms));
}

TEST(TcpConnection, F10_EdgeTriggeredRegistersOnce) {
  TcpHarness tcp({.trigger = Trigger::edge});
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  run_turn(tcp.loop);
  const std::uint64_t controls = tcp.faults.count(Call::epoll_ctl);
  for (int round = 0; round < 3; ++round) {
    tcp.connection()->send(pattern(200'000));
    run_turn(tcp.loop);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
    EXPECT_EQ(tcp.collect(client, 200'000).size(), 200'000u);
  }
  EXPECT_EQ(tcp.faults.count(Call::epoll_ctl), controls);
}

// Every receive and every send is cut short at random; an edge that is lost leaves bytes behind.
TEST(TcpConnection, F11_EdgeTriggeredLosesNoEdgeWithRandomChunks) {
  std::mt19937 random(11);
  const auto upto = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(1, n)(random);
  };
  TcpHarness tcp({.trigger = Trigger::edge});
  tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
  TestClient client = tcp.connect();
  std::size_t at = 0;
  for (int round = 0; round < 300; ++round) {
    tcp.faults.clear();
    tcp.faults.on(Call::recv).limit_bytes(upto(round % 2 == 0 ? 7 : 3000));
    tcp.faults.on(Call::send).limit_bytes(upto(round % 3 == 0 ? 7 : 3000));
    tcp.faults.on(Call::sendmsg).limit_bytes(upto(3000));
    const std::string chunk = pattern(upto(round % 2 == 0 ? 400 : 60'000), at);
    at += chunk.size();
    ASSERT_TRUE(client.send_all(chunk));
    ASSERT_TRUE(tcp.collect(client, chunk.size()) == chunk) << "round " << round;
  }
}

TEST(TcpConnection, F12_RandomPausesAndResumesLoseNothing) {
  for (const Trigger trigger : kTriggers) {
    std::mt19937 random(12);
    const auto dice = [&](int n) { return std::uniform_int_distribution<>(0, n - 1)(random); };
    TcpHarness tcp({.trigger = trigger});
    int pauses = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      ASSERT_EQ(pauses, 0) << "called while paused";
      tcp.received += in.take(dice(3) == 0 ? in.size() / 2 : in.size());
      if (dice(4) == 0 || !in.empty()) {
        ++pauses;
        c.pause_reading();
      }
    };
    TestClient client = tcp.connect();
    TcpConnection& c = *tcp.connection();
    std::string sent;
    for (int step = 0; step < 10'000; ++step) {
      switch (dice(5)) {
        case 0: {
          const std::string chunk = pattern(std::size_t(1 + dice(200)), sent.size());
          ASSERT_TRUE(client.send_all(chunk));
          sent += chunk;
          break;
        }
        case 1:
          ++pauses;
          c.pause_reading();
          break;
        case 2:
        case 3:
          if (pauses > 0) {
            --pauses;
            c.resume_reading();
          }
          break;
        default:
          run_turn(tcp.loop);
      }
    }
    EXPECT_TRUE(tcp.until([&] {
      for (; pauses > 0; --pauses) c.resume_reading();
      return tcp.received.size() == sent.size();
    }));
    EXPECT_TRUE(tcp.received == sent) << name(trigger);
  }
}

// One peer that sends as fast as it can, many that ask now and then: each answer is there two turns
// later at the most.
TEST(TcpConnection, F13_AFirehoseDoesNotStarveTheOthers) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    ConnectionRef hot;
    std::uint64_t poured = 0;
    std::uint64_t most = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      if (c.ref() == hot) {
        poured += in.size();
        in.clear();
      } else {
        c.send(in);
      }
    };
    TestClient firehose = tcp.connect();
    hot = tcp.ref();
    std::vector<TestClient> others;
    for (int i = 0; i < 20; ++i) others.push_back(tcp.connect());
    const std::string flood = pattern(1024 * 1024);
    for (int round = 0; round < 50; ++round) {
      for (TestClient& other : others) ASSERT_TRUE(other.send_all("ping"));
      for (int turn = 0; turn < 2; ++turn) {
        firehose.send_some(flood, Duration::zero());
        const std::uint64_t before = poured;
        run_turn(tcp.loop);
        most = std::max(most, poured - before);
      }
      for (TestClient& other : others) {
        ASSERT_EQ(other.receive_exactly(4, Duration::zero()), "ping") << "round " << round;
      }
    }
    EXPECT_GT(poured, 1024u * 1024);
    // A turn serves an event and what an earlier turn left to do, each within the read budget.
    EXPECT_LE(most, 2u * 1024 * 1024) << "bytes of one connection in one turn";
  }
}

}  // namespace
}  // namespace weir::test
