// The ways in which a real network refuses, in namespaces with routes of the test's own.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/client_harness.h"
#include "support/echo_server.h"
#include "support/net_namespace.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// One attempt, and what came of it.
void expect_failure(const std::string& address, int error, TcpClient::Options options = {}) {
  SCOPED_TRACE(address);
  ClientHarness tcp(std::move(options));
  ASSERT_TRUE(tcp.client->connect(address));
  ASSERT_TRUE(tcp.until_told(1, 10s));
  ASSERT_EQ(tcp.errors.size(), 1u);
  EXPECT_EQ(tcp.errors[0].code().value(), error) << tcp.errors[0].message();
  EXPECT_TRUE(tcp.errors[0].message().starts_with("connect to " + address + ": "));
  EXPECT_TRUE(tcp.nothing_pending());
  EXPECT_EQ(tcp.connect_errors, 1);
  EXPECT_EQ(tcp.calls.open, 0);
}

// 10.9.0.2 is a neighbour that takes every packet and never answers.
void make_silent_neighbour() {
  ASSERT_TRUE(ip("link add v0 type veth peer name v1"));
  ASSERT_TRUE(ip("address add 10.9.0.1/24 dev v0"));
  ASSERT_TRUE(ip("link set v0 up"));
  ASSERT_TRUE(ip("link set v1 up"));
  ASSERT_TRUE(ip("neighbour add 10.9.0.2 lladdr 02:00:00:00:00:01 dev v0"));
}

TEST(ConnectNamespace, F44_EachKindOfRouteHasItsError) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(ip("route add unreachable 10.1.0.0/16"));
    ASSERT_TRUE(ip("route add prohibit 10.2.0.0/16"));
    ASSERT_TRUE(ip("route add blackhole 10.3.0.0/16"));
    expect_failure("10.1.0.1:80", EHOSTUNREACH);
    expect_failure("10.2.0.1:80", EACCES);
    expect_failure("10.3.0.1:80", EINVAL);
    expect_failure("10.4.0.1:80", ENETUNREACH);
    expect_failure("[2001:db8::1]:80", ENETUNREACH);
    expect_failure("127.0.0.1:80", ECONNREFUSED);
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F44_ASilentHostTimesOutAsConfigured) {
  const bool done = in_net_namespace([] {
    make_silent_neighbour();
    const TimePoint start = Clock::now();
    expect_failure("10.9.0.2:80", ETIMEDOUT, {.connect_timeout = 200ms});
    EXPECT_GE(Clock::now() - start, 200ms);
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F44_TheKernelsOwnTimeOutIsTold) {
  const bool done = in_net_namespace([] {
    make_silent_neighbour();
    ASSERT_TRUE(set_net_option("ipv4/tcp_syn_retries", "1"));
    // (A kernel before 6.5 has no such option, and waits three seconds.)
    static_cast<void>(set_net_option("ipv4/tcp_syn_linear_timeouts", "0"));
    const TimePoint start = Clock::now();
    expect_failure("10.9.0.2:80", ETIMEDOUT, {.connect_timeout = 0s});
    EXPECT_GE(Clock::now() - start, 900ms);
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F44_ASilentAddressLeavesTimeForTheNext) {
  const bool done = in_net_namespace([] {
    make_silent_neighbour();
    ASSERT_TRUE(ip("route add unreachable 10.1.0.0/16"));
    ClientHarness tcp({.connect_timeout = 1s});
    EchoServer echo(tcp.loop);
    const TimePoint start = Clock::now();
    ASSERT_TRUE(tcp.client->connect({*SocketAddress::parse("10.1.0.1:80"),
                                     *SocketAddress::parse("10.9.0.2:80"), echo.listen()}));
    ASSERT_TRUE(tcp.until_told());
    EXPECT_EQ(tcp.calls.open, 1);
    EXPECT_EQ(tcp.connect_errors, 0);
    EXPECT_GE(Clock::now() - start, 450ms);  // half of what the first one left
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F44_AHostThatComesBackIsReached) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(ip("route add unreachable 10.1.0.0/16"));
    ClientHarness tcp({.reconnect = {.initial = 10ms, .max = 20ms}});
    ASSERT_TRUE(tcp.client->connect("10.1.0.1:7000"));
    ASSERT_TRUE(tcp.until([&] { return tcp.connect_errors == 3; }));
    EXPECT_EQ(tcp.attempts, (std::vector{1, 2, 3}));
    ASSERT_TRUE(ip("route delete unreachable 10.1.0.0/16"));
    ASSERT_TRUE(ip("address add 10.1.0.1/32 dev lo"));
    EchoServer echo(tcp.loop);
    EXPECT_EQ(echo.listen("10.1.0.1:7000").port(), 7000);
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

// --- few ports -----------------------------------------------------------------------------------

TEST(ConnectNamespace, F45_ASocketThatMeetsItselfIsNoConnection) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(set_net_option("ipv4/ip_local_port_range", "50000 50003"));
    // (connect(2) chooses ports of the range's own parity first.)
    std::uint64_t connects = 0;
    for (int i = 0; i < 50; ++i) {
      ClientHarness tcp;
      ASSERT_TRUE(tcp.client->connect("127.0.0.1:50000"));
      ASSERT_TRUE(tcp.until_told());
      ASSERT_EQ(tcp.calls.open, 0);
      ASSERT_EQ(tcp.errors.at(0).code().value(), ECONNREFUSED) << tcp.errors.at(0).message();
      connects += tcp.faults.count(Call::connect);
    }
    EXPECT_GT(connects, 50u);  // it did happen
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F45_WithNoOtherPortItGivesUp) {
  const bool done = in_net_namespace([] {
    ClientHarness tcp({.bind_to = *SocketAddress::parse("127.0.0.1:50001")});
    ASSERT_TRUE(tcp.client->connect("127.0.0.1:50001"));
    ASSERT_TRUE(tcp.until_told());
    ASSERT_EQ(tcp.calls.open, 0);
    EXPECT_EQ(tcp.errors.at(0).code().value(), ECONNREFUSED) << tcp.errors.at(0).message();
    EXPECT_GT(tcp.faults.count(Call::connect), 1u);
    EXPECT_LE(tcp.faults.count(Call::connect), 32u);
    EXPECT_TRUE(tcp.nothing_pending());
    // It did not leave the port in TIME_WAIT: a server can have it.
    EchoServer echo(tcp.loop);
    EXPECT_EQ(echo.listen("127.0.0.1:50001").port(), 50001);
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F45_AServerOnAPortOfTheRangeIsReached) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(set_net_option("ipv4/ip_local_port_range", "50000 50003"));
    EventLoop loop;
    EchoServer echo(loop);
    EXPECT_EQ(echo.listen("127.0.0.1:50000").port(), 50000);
    TcpClient client(loop);
    int opened = 0;
    client.on_open([&](TcpConnection& c) {
      ++opened;
      EXPECT_NE(c.local_address(), c.peer_address());
    });
    ASSERT_TRUE(client.connect("127.0.0.1:50000"));
    EXPECT_TRUE(run_until(loop, [&] { return opened == 1; }));
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F46_TheLastPortIsFollowedByAnError) {
  const bool done = in_net_namespace([] {
    constexpr int kPorts = 10;
    ASSERT_TRUE(set_net_option("ipv4/ip_local_port_range", "50000 50009"));
    EventLoop loop;
    EchoServer echo(loop);
    EXPECT_EQ(echo.listen("127.0.0.1:7000").port(), 7000);
    int opened = 0;
    std::vector<std::unique_ptr<TcpClient>> clients;
    std::vector<int> errors;
    for (int i = 0; i < kPorts + 3; ++i) {
      clients.push_back(std::make_unique<TcpClient>(loop));
      clients.back()->on_open([&](TcpConnection&) { ++opened; });
      clients.back()->on_connect_error(
          [&](const Error& error, int) { errors.push_back(error.code().value()); });
      ASSERT_TRUE(clients.back()->connect("127.0.0.1:7000"));
    }
    EXPECT_TRUE(run_until(loop, [&] { return opened == kPorts && errors.size() == 3; }));
    EXPECT_EQ(errors, (std::vector{EADDRNOTAVAIL, EADDRNOTAVAIL, EADDRNOTAVAIL}));
    // Another local address has ports of its own; even though the port is asked for by bind().
    ClientHarness other({.bind_to = *SocketAddress::parse("127.0.0.2:0")});
    EchoServer second(other.loop);
    ASSERT_TRUE(other.client->connect(second.listen("127.0.0.1:7001")));
    EXPECT_TRUE(other.until([&] { return other.calls.open == 1; }));
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

// IP_BIND_ADDRESS_NO_PORT: an address with as many ports serves as many connections to each peer.
TEST(ConnectNamespace, F46_ABoundAddressHasItsPortsForEachPeer) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(set_net_option("ipv4/ip_local_port_range", "50000 50003"));
    EventLoop loop;
    EchoServer echo(loop);
    std::vector<std::unique_ptr<TcpClient>> clients;
    int opened = 0;
    for (int peer = 0; peer < 5; ++peer) {
      const SocketAddress server = echo.listen("127.0.0.1:" + std::to_string(7000 + peer));
      for (int i = 0; i < 3; ++i) {
        clients.push_back(std::make_unique<TcpClient>(
            loop, TcpClient::Options{.bind_to = *SocketAddress::parse("127.0.0.2:0")}));
        clients.back()->on_open([&](TcpConnection&) { ++opened; });
        ASSERT_TRUE(clients.back()->connect(server));
      }
    }
    EXPECT_TRUE(run_until(loop, [&] { return opened == 15; }));
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(ConnectNamespace, F46_ABoundPortIsUsedAgainAfterAConnection) {
  const bool done = in_net_namespace([] {
    ClientHarness tcp({.bind_to = *SocketAddress::parse("127.0.0.1:50001")});
    EchoServer echo(tcp.loop);
    EchoServer other(tcp.loop);
    const SocketAddress first = echo.listen("127.0.0.1:7000");
    const SocketAddress second = other.listen("127.0.0.1:7001");
    ASSERT_TRUE(tcp.client->connect(first));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
    tcp.client->close();  // we close first, so the port is in TIME_WAIT with that peer
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }));
    ASSERT_TRUE(tcp.client->connect(second));
    ASSERT_TRUE(tcp.until_told(2));
    EXPECT_EQ(tcp.calls.open, 2);
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

}  // namespace
}  // namespace weir::test
