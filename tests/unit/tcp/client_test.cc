// TcpClient: what a program sees of it, from connect() to close().
#include "weir/net/tcp/tcp_client.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "support/client_harness.h"
#include "support/echo_server.h"
#include "support/expect_log.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using State = TcpClient::State;
using Kind = CloseReason::Kind;

constexpr TcpClient::Reconnect kSoon{.initial = 1ms, .max = 2ms};

// A client and the server it is for, on one loop.
struct Pair : ClientHarness {
  explicit Pair(TcpClient::Options options = {}) : ClientHarness(std::move(options)) {
    address = echo.listen();
  }
  ~Pair() { client.reset(); }
  [[nodiscard]] bool connected(int times = 1) {
    return until([&] { return calls.open == times && echo.opened == std::uint64_t(times); });
  }
  EchoServer echo{loop};
  SocketAddress address;
};

SocketAddress nobody() {
  auto socket = Socket::stream(SocketAddress::Family::ipv4);
  EXPECT_TRUE(socket->bind(SocketAddress::loopback_ipv4(0)));
  return socket->local_address();
}

TEST(TcpClient, BytesGoThereAndBack) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair tcp({.trigger = trigger});
    tcp.on.open = [](TcpConnection& c) { c.send("hello"); };
    EXPECT_EQ(tcp.client->state(), State::idle);
    EXPECT_EQ(tcp.client->connection(), ConnectionRef());
    ASSERT_TRUE(tcp.client->connect(tcp.address.to_string()));
    EXPECT_EQ(tcp.client->state(), State::connecting);
    ASSERT_TRUE(tcp.until([&] { return tcp.received == "hello"; }));
    EXPECT_EQ(tcp.client->state(), State::connected);
    EXPECT_TRUE(tcp.client->connection().send(" again"));
    ASSERT_TRUE(tcp.until([&] { return tcp.received == "hello again"; }));
    const TcpClient::Stats stats = tcp.client->stats();
    EXPECT_EQ(stats.attempts, 1u);
    EXPECT_EQ(stats.failures, 0u);
    EXPECT_EQ(stats.opened, 1u);
    EXPECT_EQ(stats.bytes_in, 11u);
    EXPECT_EQ(stats.bytes_out, 11u);
  }
}

TEST(TcpClient, TheConnectionIsKnownInItsOnOpen) {
  Pair tcp;
  bool same = false;
  tcp.on.open = [&](TcpConnection& c) {
    same = tcp.client->connection() == c.ref() && tcp.client->state() == State::connected;
  };
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.connected());
  EXPECT_TRUE(same);
}

TEST(TcpClient, WhatIsNoAddressIsAnErrorValue) {
  ClientHarness tcp;
  const auto text = tcp.client->connect("nonsense");
  ASSERT_FALSE(text);
  EXPECT_TRUE(text.error().message().starts_with("connect: ")) << text.error().message();
  EXPECT_FALSE(tcp.client->connect(SocketAddress()));
  EXPECT_FALSE(tcp.client->connect(std::vector<SocketAddress>()));
  EXPECT_FALSE(tcp.client->connect({nobody(), SocketAddress()}));
  EXPECT_EQ(tcp.client->state(), State::idle);
  EXPECT_TRUE(tcp.nothing_pending());
  EXPECT_EQ(tcp.connect_errors, 0);
}

TEST(TcpClient, ASecondConnectIsRefused) {
  Pair tcp({.reconnect = {.initial = 1h}});
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  EXPECT_EQ(tcp.client->connect(tcp.address).error().code(), EALREADY);
  ASSERT_TRUE(tcp.connected());
  EXPECT_EQ(tcp.client->connect(tcp.address).error().code(), EISCONN);
  tcp.client->close();
  EXPECT_TRUE(tcp.client->connect(nobody()));
  ASSERT_TRUE(tcp.until([&] { return tcp.connect_errors == 1; }));
  EXPECT_EQ(tcp.client->state(), State::waiting);
  EXPECT_EQ(tcp.client->connect(tcp.address).error().code(), EALREADY);
}

TEST(TcpClient, AddressesAreTriedInOrder) {
  Pair tcp;
  ASSERT_TRUE(tcp.client->connect(
      {nobody(), *SocketAddress::parse("unix:@weir-nobody"), tcp.address, nobody()}));
  ASSERT_TRUE(tcp.connected());
  EXPECT_EQ(tcp.faults.count(Call::connect), 3u);
  EXPECT_EQ(tcp.connect_errors, 0);
  EXPECT_EQ(tcp.client->connection().get()->peer_address(), tcp.address);
}

TEST(TcpClient, TheErrorOfTheLastAddressIsTold) {
  ClientHarness tcp;
  const SocketAddress last = nobody();
  ASSERT_TRUE(tcp.client->connect({*SocketAddress::parse("unix:/nonexistent/socket"), last}));
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.errors.at(0).message(),
            "connect to " + last.to_string() + ", the last of 2 addresses: Connection refused");
  EXPECT_EQ(tcp.client->stats().failures, 1u);
}

TEST(TcpClient, OptionsReachTheSocket) {
  Pair tcp({.nodelay = true, .keep_alive = true, .user_timeout = 1500us});
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.connected());
  const int fd = tcp.client->connection().get()->fd();
  const auto option = [fd](int level, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(::getsockopt(fd, level, name, &value, &length), 0);
    return value;
  };
  EXPECT_EQ(option(IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 60);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 2);
}

TEST(TcpClient, LimitsAreThoseOfTheOptions) {
  Pair tcp({.idle_timeout = 30ms});
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }));
  EXPECT_EQ(tcp.reason->kind, Kind::idle_timeout);
  EXPECT_EQ(tcp.client->stats().closed_by(Kind::idle_timeout), 1u);
  EXPECT_EQ(tcp.client->state(), State::idle);
}

TEST(TcpClient, UnheardFailuresAreLogged) {
  EventLoop loop;
  TcpClient client(loop);
  const ExpectLog line("connect to");
  ASSERT_TRUE(client.connect(nobody()));
  EXPECT_TRUE(run_until(loop, [&] { return client.state() == State::idle; }));
  EXPECT_EQ(line.count(), 1u);
  EXPECT_EQ(client.stats().failures, 1u);
}

TEST(TcpClient, AHandlerObjectServesAsWell) {
  struct Counting final : ConnectionHandler {
    void on_open(TcpConnection& c) override { c.send("x"); }
    void on_data(TcpConnection& c, Buffer& in) override {
      bytes += in.size();
      in.clear();
      c.close();
    }
    void on_close(TcpConnection&, CloseReason) override { ++closed; }
    std::size_t bytes = 0;
    int closed = 0;
  };
  EventLoop loop;
  EchoServer echo(loop);
  TcpClient client(loop);
  const auto handler = std::make_shared<Counting>();
  client.use_handler(handler);
  ASSERT_TRUE(client.connect(echo.listen()));
  EXPECT_TRUE(run_until(loop, [&] { return handler->closed == 1; }));
  EXPECT_EQ(handler->bytes, 1u);
}

TEST(TcpClientDeathTest, HandlersComeBeforeTheFirstConnect) {
  EventLoop loop;
  TcpClient client(loop);
  ASSERT_TRUE(client.connect("127.0.0.1:1"));
  EXPECT_DEATH(client.on_open([](TcpConnection&) {}), "handlers must be set before");
}

TEST(TcpClientDeathTest, F60_CallsFromAnotherThreadAreCaught) {
  EventLoop loop;
  TcpClient client(loop);
  const auto elsewhere = [](auto call) { on_other_thread(call); };
  EXPECT_DEATH(elsewhere([&] { static_cast<void>(client.connect("127.0.0.1:1")); }),
               "TcpClient::connect");
  EXPECT_DEATH(elsewhere([&] { client.close(); }), "TcpClient::close");
  EXPECT_DEATH(elsewhere([&] { static_cast<void>(client.connection()); }), "TcpClient::connection");
}

// --- ending --------------------------------------------------------------------------------------

TEST(TcpClient, CloseEndsInOrderAndIsFinal) {
  Pair tcp({.reconnect = kSoon});
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.connected());
  ASSERT_TRUE(tcp.client->connection().send("last words"));
  tcp.client->close();
  EXPECT_EQ(tcp.client->state(), State::idle);
  EXPECT_EQ(tcp.client->connection(), ConnectionRef());
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }));
  EXPECT_EQ(tcp.reason->kind, Kind::local_close);
  EXPECT_TRUE(tcp.until([&] { return tcp.echo.server.stats().bytes_in == 10; }));
  run_for(tcp.loop, 30ms);
  EXPECT_EQ(tcp.calls.open, 1);
  EXPECT_EQ(tcp.client->stats().attempts, 1u);
}

TEST(TcpClient, CloseStopsAnAttempt) {
  Pair tcp;
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  tcp.client->close();
  EXPECT_TRUE(tcp.nothing_pending());
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  tcp.turns(1);  // connect(2) was made
  EXPECT_EQ(tcp.faults.count(Call::connect), 1u);
  tcp.client->close();
  tcp.turns(5);
  EXPECT_EQ(tcp.calls.open + tcp.connect_errors, 0);
  EXPECT_EQ(tcp.client->state(), State::idle);
}

TEST(TcpClient, CloseStopsTheWaitForTheNextAttempt) {
  ClientHarness tcp({.reconnect = {.initial = 1h}});
  ASSERT_TRUE(tcp.client->connect(nobody()));
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.client->state(), State::waiting);
  tcp.client->close();
  EXPECT_EQ(tcp.client->state(), State::idle);
  EXPECT_TRUE(tcp.nothing_pending());
  EXPECT_EQ(tcp.connect_errors, 1);
}

TEST(TcpClient, ConnectMayFollowCloseAtOnce) {
  Pair tcp;
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.connected());
  const ConnectionRef first = tcp.client->connection();
  tcp.client->close();
  ASSERT_TRUE(tcp.client->connect(tcp.address));  // while the first one still lingers
  ASSERT_TRUE(tcp.connected(2));
  EXPECT_NE(tcp.client->connection(), first);
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }));
  EXPECT_EQ(tcp.client->state(), State::connected);
  EXPECT_TRUE(tcp.client->connection().send("x"));
  EXPECT_TRUE(tcp.until([&] { return tcp.received == "x"; }));
}

TEST(TcpClient, ConnectMayBeCalledInOnClose) {
  Pair tcp;
  tcp.on.close = [&](TcpConnection&, CloseReason) {
    EXPECT_EQ(tcp.client->state(), State::idle);
    if (tcp.calls.close < 3) {
      EXPECT_TRUE(tcp.client->connect(tcp.address));
    }
  };
  tcp.on.open = [](TcpConnection& c) { c.abort(); };
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.close == 3; }));
  tcp.turns(3);
  EXPECT_EQ(tcp.calls.open, 3);
  EXPECT_EQ(tcp.client->state(), State::idle);
}

TEST(TcpClient, ConnectMayBeCalledInOnConnectError) {
  Pair tcp;
  tcp.on_connect_error = [&](const Error&, int attempt) {
    EXPECT_EQ(attempt, 1);
    EXPECT_TRUE(tcp.client->connect(tcp.address));
  };
  ASSERT_TRUE(tcp.client->connect(nobody()));
  EXPECT_TRUE(tcp.connected());
  EXPECT_EQ(tcp.connect_errors, 1);
}

TEST(TcpClient, F62_AnExceptionOfOnConnectErrorLeavesRunAndTheClientGoesOn) {
  ClientHarness tcp({.reconnect = kSoon});
  tcp.on_connect_error = [&](const Error&, int attempt) {
    if (attempt == 1) throw std::runtime_error("thrown");
  };
  ASSERT_TRUE(tcp.client->connect(nobody()));
  EXPECT_THROW(static_cast<void>(tcp.until_told(2)), std::runtime_error);
  EXPECT_TRUE(tcp.until_told(2));
}

// --- destroying it, anywhere ---------------------------------------------------------------------

enum class Where { open, data, half_close, close, connect_error };
enum class How { destroy, close, close_and_connect };

class InsideOf : public ::testing::TestWithParam<std::tuple<Where, How, Trigger>> {};

INSTANTIATE_TEST_SUITE_P(
    TcpClient, InsideOf,
    ::testing::Combine(::testing::Values(Where::open, Where::data, Where::half_close, Where::close,
                                         Where::connect_error),
                       ::testing::Values(How::destroy, How::close, How::close_and_connect),
                       ::testing::Values(Trigger::level, Trigger::edge)));

TEST_P(InsideOf, F06_ItsCallbacksTheClientMayEnd) {
  const auto [where, how, trigger] = GetParam();
  Pair tcp({.reconnect = kSoon, .trigger = trigger, .allow_half_open = true});
  bool acted = false;
  ClientHarness::Calls before;
  int errors_before = 0;
  const auto act = [&] {
    if (std::exchange(acted, true)) return;
    before = tcp.calls;
    errors_before = tcp.connect_errors;
    switch (how) {
      case How::destroy:
        tcp.client.reset();
        break;
      case How::close:
        tcp.client->close();
        break;
      case How::close_and_connect:
        tcp.client->close();
        EXPECT_TRUE(tcp.client->connect(tcp.address));
        break;
    }
  };
  tcp.on.open = [&](TcpConnection& c) {
    if (where == Where::open) act();
    c.send("x");
    if (where == Where::half_close && !acted) c.shutdown();
  };
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    in.clear();
    if (where == Where::data) act();
    if (where == Where::close && !acted) c.loop().post([ref = c.ref()] { ref.abort(); });
  };
  tcp.on.half_close = [&](TcpConnection&) {
    if (where == Where::half_close) act();
  };
  tcp.on.close = [&](TcpConnection&, CloseReason) {
    if (where == Where::close) act();
  };
  tcp.on_connect_error = [&](const Error&, int) { act(); };
  ASSERT_TRUE(tcp.client->connect(where == Where::connect_error ? nobody() : tcp.address));
  ASSERT_TRUE(tcp.until([&] { return acted; }));
  if (how == How::close_and_connect) {
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == before.open + 1; }));
    EXPECT_EQ(tcp.client->state(), State::connected);
    return;
  }
  tcp.turns(20);
  EXPECT_EQ(tcp.calls.open, before.open);
  EXPECT_EQ(tcp.connect_errors, errors_before);
  EXPECT_LE(tcp.calls.close, how == How::destroy ? before.close : 1);
  // The server notices the end as well.
  EXPECT_TRUE(tcp.until([&] { return tcp.echo.server.connection_count() == 0; }));
}

TEST(TcpClient, F06_DestroyedWhileConnectedItResets) {
  Pair tcp;
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.connected());
  tcp.client.reset();
  ASSERT_TRUE(tcp.until([&] { return tcp.echo.closed == 1; }));
  EXPECT_EQ(tcp.echo.closed_for(Kind::reset), 1u);
  EXPECT_EQ(tcp.calls.close, 0);
}

TEST(TcpClient, F06_DestroyedBeforeTheLoopRunsItLeavesNothing) {
  EventLoop loop;
  auto client = std::make_unique<TcpClient>(loop);
  ASSERT_TRUE(client->connect("127.0.0.1:1"));
  client.reset();
  run_turn(loop);
}

}  // namespace
}  // namespace weir::test
