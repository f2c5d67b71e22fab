// The costs of a connection that is closing: its input, a peer that goes on sending, output that
// leaves slowly. And the memory that one byte of input may keep.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using State = TcpConnection::State;
using namespace std::chrono_literals;

// "Too much": the handler closes, and leaves what it was shown.
TEST(TcpClosing, InputThatNobodyWillBeOfferedIsGivenBackAtOnce) {
  for (const Trigger trigger : kTriggers) {
    for (const bool inside : {true, false}) {
      SCOPED_TRACE(std::string(name(trigger)) + (inside ? ", in on_data" : ", from elsewhere"));
      TcpHarness tcp({.trigger = trigger});
      std::size_t seen = 0;
      tcp.on.data = [&](TcpConnection& c, Buffer& in) {
        seen = in.size();
        if (inside && seen == 300'000) c.close();
      };
      TestClient client = tcp.connect();
      std::size_t sent = 0;
      const std::string bytes = pattern(300'000);
      ASSERT_TRUE(tcp.until([&] {
        sent += client.send_some(std::string_view(bytes).substr(sent), Duration::zero());
        return seen == bytes.size();
      }));
      if (!inside) {
        EXPECT_GE(tcp.server->stats().buffered, bytes.size());
        tcp.connection()->close();
      }
      tcp.turns(2);
      EXPECT_EQ(tcp.connection()->state(), State::lingering);
      EXPECT_EQ(tcp.server->stats().buffered, 0u);
      EXPECT_EQ(tcp.connection()->pending_input(), 0u);
    }
  }
}

void flood_until_closed(TcpHarness& tcp, TestClient& client) {
  const std::string flood = pattern(1'000'000);
  std::uint64_t sent = 0;
  ASSERT_TRUE(tcp.until([&] {
    sent += client.send_some(flood, Duration::zero());
    return tcp.calls.close == 1;
  })) << sent
      << " bytes, and no end";
}

// Bytes that come after our FIN are discarded, up to a bound.
TEST(TcpClosing, APeerThatFloodsALingeringConnectionIsReset) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    tcp.connection()->close();
    tcp.turns(2);
    ASSERT_EQ(tcp.connection()->state(), State::lingering);
    flood_until_closed(tcp, client);
    EXPECT_EQ(tcp.reason->kind, Kind::local_close);
    EXPECT_GT(tcp.server->stats().bytes_in, 60'000'000u) << "an honest upload may need that";
    EXPECT_LT(tcp.server->stats().bytes_in, 70'000'000u);
    EXPECT_EQ(client.send_some("x", Duration::zero()), 0u);
  }
}

// The same while output still waits, which the peer does not take.
TEST(TcpClosing, APeerThatFloodsAClosingConnectionIsReset) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.open = shrink_send_buffer;
    TestClient client = tcp.connect(0, 4096);
    tcp.connection()->send(pattern(500'000));
    tcp.connection()->close();
    flood_until_closed(tcp, client);
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::input_overflow, Errno(ENOBUFS)}));
    EXPECT_LT(tcp.server->stats().bytes_in, 70'000'000u);
    EXPECT_EQ(client.send_some("x", Duration::zero()), 0u);
  }
}

// A download that was closed behind goes on as long as it goes on.
TEST(TcpClosing, DrainTimeoutBeginsAnewWithEachByteThatThePeerTakes) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .drain_timeout = 30s});
    tcp.on.open = shrink_send_buffer;
    TestClient client = tcp.connect(0, 4096);
    tcp.connection()->send(pattern(500'000));
    tcp.connection()->close();
    tcp.turns(2);
    std::string got;
    for (int i = 0; i < 20; ++i) {  // ten minutes in all
      pass(tcp, 29s);
      ASSERT_EQ(tcp.calls.close, 0) << "after " << got.size() << " bytes";
      const std::uint64_t before = tcp.connection()->pending_output();
      ASSERT_TRUE(tcp.until([&] {
        got += client.receive_exactly(2000, Duration::zero());
        return tcp.connection()->pending_output() < before;
      }));
    }
    got += tcp.collect(client, 500'000 - got.size());
    EXPECT_EQ(got, pattern(500'000));
    tcp.turns(2);
    EXPECT_EQ(tcp.connection()->state(), State::lingering);
  }
}

TEST(TcpClosing, DrainLimitEndsEvenADownloadThatGoesOn) {
  TcpHarness tcp({.drain_timeout = 30s, .drain_limit = 90s});
  tcp.on.open = shrink_send_buffer;
  TestClient client = tcp.connect(0, 4096);
  tcp.connection()->send(pattern(500'000));
  tcp.connection()->close();
  tcp.turns(2);
  int steps = 0;
  for (; tcp.calls.close == 0 && steps < 10; ++steps) {
    pass(tcp, 20s);
    if (tcp.calls.close > 0) break;
    const std::uint64_t before = tcp.connection()->pending_output();
    ASSERT_TRUE(tcp.until([&] {
      client.receive_exactly(2000, Duration::zero());
      return tcp.connection()->pending_output() < before;
    }));
  }
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::drain_timeout, Errno(ETIMEDOUT)}));
}

// The first byte of the next message must not keep the memory of the last one.
TEST(TcpClosing, OnePendingByteDoesNotKeepTheMemoryOfALargeMessage) {
  constexpr std::size_t kMessage = 1'000'000;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    std::uint64_t most = 0;
    std::size_t whole = 0;
    tcp.on.data = [&](TcpConnection&, Buffer& in) {
      if (in.size() >= kMessage) in.consume(std::exchange(whole, kMessage) == 0 ? kMessage : 0);
    };
    TestClient client = tcp.connect();
    const std::string bytes = pattern(kMessage + 1);
    std::size_t sent = 0;
    ASSERT_TRUE(tcp.until([&] {
      sent += client.send_some(std::string_view(bytes).substr(sent), Duration::zero());
      most = std::max(most, tcp.server->stats().buffered);
      return whole == kMessage && tcp.connection()->pending_input() == 1;
    }));
    EXPECT_LE(most, 1024u * 1024u) << "max_input bounds the memory";
    for (int i = 0; i < 8; ++i) pass(tcp, 250ms);
    EXPECT_LE(tcp.server->stats().buffered, 4096u);
    EXPECT_EQ(tcp.connection()->pending_input(), 1u);
    tcp.on.data = {};
    ASSERT_TRUE(client.send_all("x"));
    EXPECT_TRUE(tcp.until([&] { return tcp.received.size() == 2; }));
    EXPECT_EQ(tcp.received, bytes.substr(kMessage) + "x");
  }
}

}  // namespace
}  // namespace weir::test
