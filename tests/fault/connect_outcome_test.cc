// Every way in which a connect can end: it is reported once, with its errno, and leaves nothing.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "support/client_harness.h"
#include "support/echo_server.h"
#include "support/spin_oracle.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using State = TcpClient::State;

// A listener of nobody's: its queue takes connections, and nothing else happens to them.
class Listener {
 public:
  explicit Listener(std::string_view where = "127.0.0.1:0", int backlog = 64) {
    const auto wanted = SocketAddress::parse(where);
    auto made = Socket::stream(wanted->family());
    EXPECT_TRUE(made);
    socket_ = std::move(*made);
    EXPECT_TRUE(socket_.bind(*wanted));
    EXPECT_TRUE(socket_.listen(backlog));
  }
  SocketAddress address() const { return socket_.local_address(); }
  Socket& socket() { return socket_; }

 private:
  Socket socket_;
};

// Nobody listens there.
SocketAddress closed_port() {
  Listener listener;
  return listener.address();
}

// In progress for ever: connect(2) is never made, and the sockets are never asked.
void silence_peers(FaultTable& faults) {
  faults.on(Call::connect).fail(EINPROGRESS);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).answer(0);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_DEL).answer(0);
}

void expect_one_failure(ClientHarness& tcp, const SocketAddress& address, int error) {
  ASSERT_TRUE(tcp.until_told());
  ASSERT_EQ(tcp.errors.size(), 1u);
  EXPECT_EQ(tcp.errors[0].code().value(), error) << tcp.errors[0].message();
  const std::string start = "connect to " + address.to_string() + ": ";
  EXPECT_EQ(tcp.errors[0].message().substr(0, start.size()), start);
  EXPECT_NE(tcp.errors[0].message().find(Errno(error).message()), std::string::npos);
  EXPECT_EQ(tcp.attempts[0], 1);
  EXPECT_EQ(tcp.client->state(), State::idle);
  EXPECT_TRUE(tcp.nothing_pending());
  tcp.faults.clear();
  EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
  EXPECT_EQ(tcp.connect_errors, 1);
  EXPECT_EQ(tcp.calls.open + tcp.calls.close, 0);
  EXPECT_EQ(tcp.client->stats().failures, 1u);
}

class ConnectErrno : public ::testing::TestWithParam<int> {};

constexpr std::array kErrors = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH,  ENETUNREACH, ENETDOWN,
                                EACCES,       EPERM,     EADDRNOTAVAIL, EADDRINUSE,  EAFNOSUPPORT,
                                EINVAL,       EAGAIN,    ENOENT,        ECONNRESET,  ENOBUFS,
                                ENOMEM,       EPROTO,    EHOSTDOWN};

INSTANTIATE_TEST_SUITE_P(Errors, ConnectErrno, ::testing::ValuesIn(kErrors),
                         [](const auto& error) { return Errno(error.param).name(); });

TEST_P(ConnectErrno, F44_SaidByConnectIsToldOnce) {
  ClientHarness tcp;
  const Listener listener;
  tcp.faults.on(Call::connect).fail(GetParam());
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  EXPECT_EQ(tcp.client->state(), State::connecting);
  expect_one_failure(tcp, listener.address(), GetParam());
  EXPECT_EQ(tcp.faults.count(Call::connect), 1u);
}

TEST_P(ConnectErrno, F44_SaidBySoErrorIsToldOnce) {
  ClientHarness tcp;
  const Listener listener;
  tcp.faults.on(Call::getsockopt).argument(SO_ERROR).give_option(GetParam());
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  expect_one_failure(tcp, listener.address(), GetParam());
  EXPECT_EQ(tcp.faults.count(Call::connect), 1u);
}

TEST(ConnectOutcome, F44_EveryCallOnTheWayMayFail) {
  struct Step {
    Call call;
    int argument;  // -1: any
    int error;
  };
  constexpr std::array kSteps = {Step{Call::socket, -1, EMFILE},
                                 Step{Call::socket, -1, EAFNOSUPPORT},
                                 Step{Call::bind, -1, EADDRINUSE},
                                 Step{Call::epoll_ctl, EPOLL_CTL_ADD, ENOSPC},
                                 Step{Call::epoll_ctl, EPOLL_CTL_ADD, ENOMEM},
                                 Step{Call::getsockopt, SO_ERROR, ENOBUFS}};
  for (const Step& step : kSteps) {
    SCOPED_TRACE(Errno(step.error).name());
    ClientHarness tcp({.bind_to = SocketAddress::loopback_ipv4(0)});
    const Listener listener;
    auto rule = tcp.faults.on(step.call);
    if (step.argument >= 0) rule.argument(step.argument);
    rule.fail(step.error);
    ASSERT_TRUE(tcp.client->connect(listener.address()));
    expect_one_failure(tcp, listener.address(), step.error);
  }
}

TEST(ConnectOutcome, F44_AnInterruptedConnectGoesOn) {
  ClientHarness tcp;
  EchoServer echo(tcp.loop);
  tcp.faults.on(Call::connect).nth(1).do_then_fail(EINTR);
  ASSERT_TRUE(tcp.client->connect(echo.listen()));
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.calls.open, 1);
  EXPECT_EQ(tcp.faults.count(Call::connect), 1u);  // a second one would say EALREADY
  EXPECT_EQ(tcp.client->state(), State::connected);
}

// The process was stopped, or its loop was kept busy, from before the answer until after the
// timeout.
TEST(ConnectOutcome, F15_AConnectThatSucceededIsNotTimedOutByAStoppedProcess) {
  const Listener listener;
  ClientHarness tcp({.connect_timeout = 1s});
  tcp.faults.on(Call::connect).nth(1).hook([&] {
    tcp.faults.advance_clock(10s);
    tcp.faults.on(Call::epoll_pwait2).first(3).answer(0);
  });
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.calls.open, 1);
  EXPECT_EQ(tcp.connect_errors, 0);
}

// The loop did not run for longer than the timeout between connect() and the attempt.
TEST(ConnectOutcome, F15_TheTimeoutBeginsWithTheAttemptNotWithTheCall) {
  ClientHarness tcp({.connect_timeout = 1s});
  silence_peers(tcp.faults);
  const Listener listener;
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  tcp.faults.advance_clock(10s);
  ASSERT_TRUE(tcp.until([&] { return tcp.faults.count(Call::connect) == 1; }));
  tcp.faults.advance_clock(900ms);
  tcp.turns(2);
  EXPECT_EQ(tcp.connect_errors, 0);
  tcp.faults.advance_clock(200ms);
  expect_one_failure(tcp, listener.address(), ETIMEDOUT);
}

// A silent address cannot use the time of the next one while the loop is held.
TEST(ConnectOutcome, F15_AHeldLoopLeavesTheNextAddressItsShare) {
  ClientHarness tcp({.connect_timeout = 10s});
  silence_peers(tcp.faults);
  const Listener first;
  const Listener second;
  ASSERT_TRUE(tcp.client->connect(std::vector{first.address(), second.address()}));
  ASSERT_TRUE(tcp.until([&] { return tcp.faults.count(Call::connect) == 1; }));
  tcp.faults.advance_clock(60s);
  ASSERT_TRUE(tcp.until([&] { return tcp.faults.count(Call::connect) == 2; }));
  tcp.faults.advance_clock(4s);
  tcp.turns(2);
  EXPECT_EQ(tcp.connect_errors, 0);
  tcp.faults.advance_clock(1s);
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.errors[0].code().value(), ETIMEDOUT);
}

TEST(ConnectOutcome, F15_AHealthyAddressAfterASilentOneIsTriedAlsoWhenTheLoopWasHeld) {
  ClientHarness tcp({.connect_timeout = 1s});
  tcp.faults.on(Call::connect).nth(1).fail(EINPROGRESS);
  tcp.faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).nth(1).answer(0);
  tcp.faults.on(Call::epoll_ctl).argument(EPOLL_CTL_DEL).nth(1).answer(0);
  const Listener silent;
  const Listener healthy;
  ASSERT_TRUE(tcp.client->connect(std::vector{silent.address(), healthy.address()}));
  ASSERT_TRUE(tcp.until([&] { return tcp.faults.count(Call::connect) == 1; }));
  tcp.faults.advance_clock(10s);
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.calls.open, 1);
  EXPECT_EQ(tcp.faults.count(Call::connect), 2u);
}

TEST(ConnectOutcome, F15_ARefusalIsNotCalledATimeout) {
  const SocketAddress nobody = closed_port();
  ClientHarness tcp({.connect_timeout = 1s});
  tcp.faults.on(Call::connect).nth(1).hook([&] {
    tcp.faults.advance_clock(10s);
    tcp.faults.on(Call::epoll_pwait2).first(3).answer(0);
  });
  ASSERT_TRUE(tcp.client->connect(nobody));
  expect_one_failure(tcp, nobody, ECONNREFUSED);
}

TEST(ConnectOutcome, F44_ARefusalIsToldOnce) {
  for (const bool v6 : {false, true}) {
    ClientHarness tcp;
    const SocketAddress nobody =
        v6 ? SocketAddress::loopback_ipv6(closed_port().port()) : closed_port();
    ASSERT_TRUE(tcp.client->connect(nobody));
    expect_one_failure(tcp, nobody, ECONNREFUSED);
  }
}

TEST(ConnectOutcome, F44_AUnixSocketConnectsAtOnceAndIsToldLater) {
  ClientHarness tcp;
  EchoServer echo(tcp.loop);
  const SocketAddress address = echo.listen(abstract_address("connect"));
  ASSERT_TRUE(tcp.client->connect(address));
  EXPECT_EQ(tcp.calls.open, 0);  // not from inside connect()
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.calls.open, 1);
  EXPECT_TRUE(tcp.client->connection().send("hello"));
  EXPECT_TRUE(tcp.until([&] { return tcp.received == "hello"; }));
}

TEST(ConnectOutcome, F44_AMissingUnixPathIsAnError) {
  ClientHarness tcp;
  const auto nowhere = SocketAddress::parse("unix:/nonexistent/weir.sock");
  ASSERT_TRUE(tcp.client->connect(*nowhere));
  expect_one_failure(tcp, *nowhere, ENOENT);
}

// Connections that fill a Unix listener's queue.
std::vector<Socket> fill(const SocketAddress& address) {
  std::vector<Socket> waiting;
  for (int i = 0; i < 100; ++i) {
    auto socket = Socket::stream(address.family());
    EXPECT_TRUE(socket);
    const auto connected = socket->connect(address);
    if (!connected) {
      EXPECT_EQ(connected.error().value(), EAGAIN);
      return waiting;
    }
    waiting.push_back(std::move(*socket));
  }
  ADD_FAILURE() << "the queue does not fill";
  return waiting;
}

TEST(ConnectOutcome, F44_AFullUnixQueueIsTriedAgainUntilThereIsRoom) {
  ClientHarness tcp;
  Listener listener(abstract_address("full"), 1);
  const auto waiting = fill(listener.address());
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  EXPECT_TRUE(tcp.until([&] { return tcp.faults.count(Call::connect) >= 4; }));
  EXPECT_EQ(tcp.calls.open + tcp.connect_errors, 0);
  const auto accepted = listener.socket().accept();
  ASSERT_TRUE(accepted);
  EXPECT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.calls.open, 1);
}

TEST(ConnectOutcome, F44_AUnixQueueThatStaysFullTimesOut) {
  ClientHarness tcp({.connect_timeout = 150ms});
  const Listener listener(abstract_address("stuck"), 1);
  const auto waiting = fill(listener.address());
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  const TimePoint start = Clock::now();
  expect_one_failure(tcp, listener.address(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - start, 150ms);
  EXPECT_LE(tcp.faults.count(Call::connect), 12u);  // 1, 2, 4, ... 64 ms apart
}

TEST(ConnectOutcome, F44_ASilentPeerTimesOut) {
  ClientHarness tcp({.connect_timeout = 100ms});
  silence_peers(tcp.faults);
  const Listener listener;
  const TimePoint start = Clock::now();
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  expect_one_failure(tcp, listener.address(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - start, 100ms);
}

TEST(ConnectOutcome, F46_WithoutAPortItBacksOffInsteadOfSpinning) {
  ClientHarness tcp({.reconnect = {.initial = 100ms, .max = 200ms, .jitter = 0}});
  const Listener listener;
  tcp.faults.on(Call::connect).fail(EADDRNOTAVAIL);
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  const SpinOracle oracle(tcp.faults);
  run_for(tcp.loop, 500ms);
  EXPECT_LE(tcp.connect_errors, 5);
  EXPECT_GE(tcp.connect_errors, 2);
  EXPECT_LE(oracle.waits(), 30u);  // some three for each attempt
  EXPECT_EQ(tcp.errors[0].code(), EADDRNOTAVAIL);
}

TEST(ConnectOutcome, F46_ABoundAddressTakesItsPortAtConnect) {
  ClientHarness tcp({.bind_to = *SocketAddress::parse("127.0.0.7:0")});
  EchoServer echo(tcp.loop);
  SocketAddress peer;
  echo.server.on_open([&](TcpConnection& c) { peer = c.peer_address(); });
  ASSERT_TRUE(tcp.client->connect(echo.listen()));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1 && peer.port() != 0; }));
  EXPECT_EQ(peer.ip(), "127.0.0.7");
  const TcpConnection* const connection = tcp.client->connection().get();
  ASSERT_NE(connection, nullptr);
  EXPECT_EQ(connection->local_address(), peer);
  int no_port = 0;
  socklen_t length = sizeof(no_port);
  ASSERT_EQ(::getsockopt(connection->fd(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &no_port, &length),
            0);
  EXPECT_EQ(no_port, 1);
}

TEST(ConnectOutcome, F49_AHangUpWithoutAnErrorIsNotTheEnd) {
  ClientHarness tcp;
  EchoServer echo(tcp.loop);
  // As seen in the midst of a connect that succeeds: hung up, no error, not yet connected.
  tcp.faults.edit_batches([](std::vector<FaultTable::Event>& events) {
    for (auto& event : events) {
      if ((event.events & EPOLLOUT) != 0) event.events |= EPOLLHUP | EPOLLRDHUP;
    }
  });
  tcp.faults.on(Call::getpeername).first(3).fail(ENOTCONN);
  ASSERT_TRUE(tcp.client->connect(echo.listen()));
  ASSERT_TRUE(tcp.until_told());
  EXPECT_EQ(tcp.calls.open, 1);
  EXPECT_EQ(tcp.connect_errors, 0);
  EXPECT_GE(tcp.faults.failed(Call::getpeername), 3u);
}

// Looks every 10 ms are all that it does.
bool rests_while_connecting(ClientHarness& tcp) {
  const std::uint64_t waits = tcp.faults.waits();
  run_for(tcp.loop, 100ms);
  return tcp.faults.waits() - waits <= 60;
}

TEST(ConnectOutcome, F49_ASocketThatNeverConnectsEndsWithoutSpinning) {
  ClientHarness tcp({.connect_timeout = 20s});
  // It was never connected, so epoll reports OUT and HUP as long as it is asked.
  tcp.faults.on(Call::connect).fail(EINPROGRESS);
  const Listener listener;
  ASSERT_TRUE(tcp.client->connect(listener.address()));
  EXPECT_TRUE(rests_while_connecting(tcp));
  for (int i = 0; i < 2000 && tcp.connect_errors == 0; ++i) {
    tcp.faults.advance_clock(1ms);
    run_turn(tcp.loop);
  }
  expect_one_failure(tcp, listener.address(), ENOTCONN);
}

TEST(ConnectOutcome, F49_AnEventWithoutReadinessLeavesItInProgress) {
  // All 64 sets of bits, while nothing is known yet of the connection.
  for (std::uint32_t bits = 0; bits < 64; ++bits) {
    ClientHarness tcp;
    EchoServer echo(tcp.loop);
    const std::array kBits = {EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLPRI};
    std::uint32_t forged = 0;
    for (std::size_t i = 0; i < kBits.size(); ++i) {
      if ((bits >> i & 1) != 0) forged |= static_cast<std::uint32_t>(kBits.at(i));
    }
    tcp.faults.edit_batches([&](std::vector<FaultTable::Event>& events) {
      for (auto& event : events) {
        if ((event.events & EPOLLOUT) != 0) event.events = forged;
      }
    });
    tcp.faults.on(Call::getpeername).nth(1).fail(ENOTCONN);
    ASSERT_TRUE(tcp.client->connect(echo.listen()));
    ASSERT_TRUE(tcp.until_told());
    EXPECT_EQ(tcp.calls.open, 1) << bits;
    EXPECT_EQ(tcp.connect_errors, 0) << bits;
  }
}

}  // namespace
}  // namespace weir::test
