// Bounds on who is let in: connections of one peer, and connections a second.
#include "weir/net/stream/internal/admission.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/loops.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using internal::OpenCount;
using internal::PeerCounts;
using internal::PeerKey;
using internal::PeerPlace;
using internal::Seat;
using namespace std::chrono_literals;

SocketAddress address(std::string_view text) { return SocketAddress::parse(text).value(); }
std::optional<PeerKey> key(std::string_view text) { return PeerKey::of(address(text)); }

TEST(PeerKeys, F41_PeersAreAnIpv4AddressOrAnIpv6Network) {
  EXPECT_EQ(key("192.0.2.1:80"), key("192.0.2.1:81"));
  EXPECT_NE(key("192.0.2.1:80"), key("192.0.2.2:80"));
  EXPECT_EQ(key("192.0.2.1:80"), key("[::ffff:192.0.2.1]:80"));
  EXPECT_EQ(key("[2001:db8:0:1::1]:80"), key("[2001:db8:0:1:ffff:ffff:ffff:ffff]:9"));
  EXPECT_NE(key("[2001:db8:0:1::1]:80"), key("[2001:db8:0:2::1]:80"));
  EXPECT_NE(key("[::]:80"), key("0.0.0.0:80"));
  EXPECT_EQ(key("unix:/tmp/x"), std::nullopt);
  EXPECT_EQ(PeerKey::of(SocketAddress()), std::nullopt);
}

TEST(PeerCounting, APlaceIsGivenBackByItsEndAndMemoryWithTheLast) {
  const auto counts = std::make_shared<PeerCounts>(2);
  const SocketAddress peer = address("192.0.2.1:80");
  auto first = counts->enter(peer);
  auto second = counts->enter(peer);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(counts->enter(peer));
  EXPECT_TRUE(counts->enter(address("192.0.2.2:80")));  // given back at once
  PeerPlace moved = std::move(*first);
  first.reset();
  EXPECT_FALSE(counts->enter(peer));
  moved = PeerPlace();
  EXPECT_TRUE(counts->enter(peer));
  second.reset();
  EXPECT_EQ(counts->size(), 0u);
}

TEST(PeerCounting, WhoIsNotCountedIsAlwaysLetIn) {
  const auto counts = std::make_shared<PeerCounts>(1);
  for (int i = 0; i < 3; ++i) {
    const auto place = counts->enter(SocketAddress());
    ASSERT_TRUE(place);
    EXPECT_FALSE(place->counted());
  }
  EXPECT_EQ(counts->size(), 0u);
}

TEST(Seat, IsGivenBackUnlessItIsSettled) {
  const auto count = std::make_shared<OpenCount>();
  const auto peers = std::make_shared<PeerCounts>(5);
  const auto take = [&] { return Seat::take(count, 2, *peers->enter(address("192.0.2.1:80"))); };
  {
    const auto first = take();
    auto second = take();
    ASSERT_TRUE(first && second);
    EXPECT_TRUE(first->has_place());
    EXPECT_EQ(count->value(), 2u);
    EXPECT_FALSE(take());
    EXPECT_EQ(count->value(), 2u) << "the one too many is given back";
    const Seat moved = std::move(*second);
    second.reset();
    EXPECT_EQ(count->value(), 2u);
  }
  EXPECT_EQ(count->value(), 0u);
  EXPECT_EQ(peers->size(), 0u);
  {
    PeerPlace place = take()->settle();
    EXPECT_TRUE(place.counted());
  }
  EXPECT_EQ(peers->size(), 0u);
  EXPECT_EQ(count->value(), 1u);
  count->leave();
  EXPECT_EQ(count->value(), 0u);
}

// --- a server ------------------------------------------------------------------------------------

TEST(PeerLimits, F41_OnePeerCannotTakeAllConnections) {
  const ExpectLog limit("127.0.0.1 has 2 connections");
  TcpHarness tcp({.max_connections_per_peer = 2});
  tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
  TestClient first = tcp.connect();
  TestClient second = tcp.connect();
  TestClient third;
  ASSERT_TRUE(third.connect(tcp.address));
  EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().refused_per_peer == 1; }));
  EXPECT_NE(third.wait_for_end(), TestClient::End::open);
  EXPECT_EQ(tcp.calls.open, 2);

  TestClient other;  // another address is another peer
  other.bind_to(address("127.0.0.2:0"));
  ASSERT_TRUE(other.connect(tcp.address));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 3; }));

  first.close();  // its place is free again
  EXPECT_TRUE(tcp.until_closed());
  TestClient fourth = tcp.connect();
  ASSERT_TRUE(fourth.send_all("ping"));
  EXPECT_EQ(tcp.collect(fourth, 4), "ping");
  EXPECT_EQ(tcp.server->stats().refused_per_peer, 1u);
  EXPECT_EQ(tcp.server->stats().refused, 0u);
}

TEST(PeerLimits, F41_ThoseOfManyLoopsAreCountedTogether) {
  const ExpectLog limit("connections, the most allowed");
  constexpr std::size_t kMost = 5;
  for (const AcceptMode mode :
       {AcceptMode::single, AcceptMode::reuse_port, AcceptMode::exclusive}) {
    EventLoop loop;
    EchoServer echo(loop, {.threads = 2, .accept = mode, .max_connections_per_peer = kMost});
    const SocketAddress where = echo.listen();
    serve_while(loop, [&] {
      for (int round = 0; round < 3; ++round) {
        std::vector<TestClient> clients(2 * kMost);
        for (TestClient& client : clients) EXPECT_TRUE(client.connect(where));
        const auto served = std::ranges::count_if(clients, [](TestClient& c) { return echoes(c); });
        EXPECT_EQ(static_cast<std::size_t>(served), kMost);
        clients.clear();
        EXPECT_TRUE(wait_until([&] { return echo.server.connection_count() == 0; }));
      }
    });
    EXPECT_EQ(echo.server.stats().refused_per_peer, 3 * kMost);
  }
}

TEST(PeerLimits, UnixPeersAreNotCounted) {
  const std::string path = abstract_address("peer-limits");
  TcpHarness tcp({.max_connections_per_peer = 1}, path);
  TestClient first = tcp.connect();
  TestClient second = tcp.connect();
  EXPECT_EQ(tcp.calls.open, 2);
  EXPECT_EQ(tcp.server->stats().refused_per_peer, 0u);
}

// getpeername says ENOTCONN: there is nobody to be refused, or to be counted.
TEST(PeerLimits, F41_APeerThatIsGoneAlreadyIsNotCounted) {
  TcpHarness tcp({.max_connections_per_peer = 1});
  tcp.faults.on(Call::getpeername).first(2).fail(ENOTCONN);
  TestClient first = tcp.connect();
  TestClient second = tcp.connect();
  TestClient third = tcp.connect();
  EXPECT_EQ(tcp.calls.open, 3);
  EXPECT_EQ(tcp.server->stats().refused_per_peer, 0u);
}

TEST(PeerLimits, NothingIsAskedWhereTheOptionIsOff) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  EXPECT_EQ(tcp.faults.count(Call::getpeername), 0u);
}

TEST(AcceptRates, F41_ThoseWhoComeTooFastWaitInTheBacklog) {
  constexpr std::size_t kRate = 200;  // 20 at once
  constexpr std::size_t kClients = 60;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .max_accept_rate = kRate});
    std::vector<TestClient> clients(kClients);
    for (TestClient& client : clients) ASSERT_TRUE(client.connect(tcp.address));
    const TimePoint start = Clock::now();
    std::vector<TimePoint> opened;
    tcp.on.open = [&](TcpConnection&) { opened.push_back(Clock::now()); };
    EXPECT_TRUE(tcp.until([&] { return opened.size() == kClients; }));
    // Never more since the start than the burst and what time has brought.
    for (std::size_t i = 0; i < opened.size(); ++i) {
      const double seconds = std::chrono::duration<double>(opened[i] - start).count();
      EXPECT_LE(static_cast<double>(i + 1), kRate / 10.0 + seconds * kRate + 1);
    }
    EXPECT_EQ(tcp.server->stats().accepted, kClients);
    EXPECT_EQ(tcp.server->stats().refused, 0u);
    EXPECT_GE(tcp.server->stats().accept_rate_pauses, 2u);
    EXPECT_LE(tcp.server->stats().accept_rate_pauses, kClients);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults));
  }
}

TEST(AcceptRates, AShutdownDoesNotWaitForTheRate) {
  TcpHarness tcp({.max_accept_rate = 1});
  TestClient first = tcp.connect();
  TestClient second;
  ASSERT_TRUE(second.connect(tcp.address));
  ASSERT_TRUE(second.send_all("x"));
  EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().accept_rate_pauses == 1; }));
  bool done = false;
  tcp.server->shutdown(5s, [&] { done = true; });
  first.close();
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 2; }, 500ms));
  second.close();
  EXPECT_TRUE(tcp.until([&] { return done; }));
  EXPECT_EQ(tcp.received, "x");
}

}  // namespace
}  // namespace weir::test
