// TcpClient::Reconnect: when there is a next attempt, and how long it waits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "support/client_harness.h"
#include "support/echo_server.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using State = TcpClient::State;
using Kind = CloseReason::Kind;

struct Reconnecting : ClientHarness {
  explicit Reconnecting(TcpClient::Reconnect how, TcpClient::Options more = {})
      : ClientHarness([&] {
          more.reconnect = how;
          return more;
        }()) {
    server.emplace(loop);
    server->on_open([this](TcpConnection& c) { theirs = c.ref(); });
    address = *server->listen("127.0.0.1:0");
  }
  ~Reconnecting() { client.reset(); }

  std::optional<TcpServer> server;
  SocketAddress address;
  ConnectionRef theirs;
};

constexpr TcpClient::Reconnect kSoon{.initial = 1ms, .max = 2ms};

TEST(Reconnect, IsOffByDefault) {
  ClientHarness tcp;
  TcpServer server(tcp.loop);
  server.on_open([](TcpConnection& c) { c.abort(); });
  ASSERT_TRUE(tcp.client->connect(*server.listen("127.0.0.1:0")));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.close + tcp.connect_errors == 1; }));
  run_for(tcp.loop, 20ms);
  EXPECT_EQ(tcp.client->stats().attempts, 1u);
}

TEST(Reconnect, FollowsEveryEndThatWasNotOurs) {
  Reconnecting tcp(kSoon);
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  for (int round = 1; round <= 6; ++round) {
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == round && tcp.theirs.get() != nullptr; }));
    tcp.theirs.get()->send("bye");
    ASSERT_TRUE(tcp.until([&] { return tcp.received == "bye"; }));
    tcp.received.clear();
    ASSERT_TRUE(round % 2 == 0 ? tcp.theirs.close() : tcp.theirs.abort());
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == round; }));
    EXPECT_EQ(tcp.reason->kind, round % 2 == 0 ? Kind::peer_eof : Kind::reset);
  }
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 7; }));
}

TEST(Reconnect, FollowsADeadline) {
  Reconnecting tcp(kSoon, {.idle_timeout = 20ms});
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 2; }));
  EXPECT_EQ(tcp.reason->kind, Kind::idle_timeout);
}

TEST(Reconnect, DoesNotFollowAnEndOfOurs) {
  for (const bool abort : {false, true}) {
    Reconnecting tcp(kSoon);
    tcp.on.open = [&](TcpConnection& c) {
      if (abort) {
        c.abort();
      } else {
        c.close();
      }
    };
    ASSERT_TRUE(tcp.client->connect(tcp.address));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }));
    EXPECT_EQ(tcp.reason->kind, abort ? Kind::aborted : Kind::local_close);
    run_for(tcp.loop, 20ms);
    EXPECT_EQ(tcp.client->stats().attempts, 1u);
    EXPECT_EQ(tcp.client->state(), State::idle);
  }
}

TEST(Reconnect, FollowsAlsoWhenTheHandlerWasReplaced) {
  Reconnecting tcp(kSoon);
  ConnectionHandler other;
  tcp.on.open = [&](TcpConnection& c) {
    if (tcp.calls.open == 1) c.set_handler(other);
  };
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1 && tcp.theirs.get() != nullptr; }));
  tcp.theirs.abort();
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 2; }));
  EXPECT_EQ(tcp.calls.close, 0);
}

TEST(Reconnect, GivesUpAfterSoManyFailuresInARow) {
  Reconnecting tcp({.initial = 1ms, .max = 2ms, .attempts = 3});
  std::vector<State> states;
  tcp.on_connect_error = [&](const Error&, int) { states.push_back(tcp.client->state()); };
  tcp.faults.on(Call::connect).first(2).fail(ECONNREFUSED);
  tcp.faults.on(Call::connect).from(4).fail(ECONNREFUSED);
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1 && tcp.theirs.get() != nullptr; }));
  tcp.theirs.abort();
  ASSERT_TRUE(tcp.until([&] { return tcp.connect_errors == 5; }));
  EXPECT_TRUE(tcp.nothing_pending());
  EXPECT_EQ(tcp.attempts, (std::vector{1, 2, 1, 2, 3}));
  EXPECT_EQ(states, (std::vector{State::waiting, State::waiting, State::waiting, State::waiting,
                                 State::idle}));
  EXPECT_EQ(tcp.client->state(), State::idle);
  // And connect() begins anew.
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.connect_errors == 6; }));
  EXPECT_EQ(tcp.attempts.back(), 1);
}

// Moves the clock in small steps until `done`; returns how far.
Duration clock_until(ClientHarness& tcp, const std::function<bool()>& done, Duration step) {
  Duration moved{};
  for (int i = 0; i < 100'000 && !done(); ++i) {
    tcp.faults.advance_clock(step);
    moved += step;
    tcp.turns(2);
  }
  EXPECT_TRUE(done());
  return moved;
}

TEST(Reconnect, F48_TheWaitDoublesAndIsCapped) {
  Reconnecting tcp({.initial = 10s, .max = 100s, .jitter = 0});
  tcp.faults.on(Call::connect).fail(ECONNREFUSED);
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until_told());
  int failures = 1;
  for (const Duration wait : {10s, 20s, 40s, 80s, 100s, 100s}) {
    const Duration waited = clock_until(
        tcp, [&] { return tcp.connect_errors > failures; }, 100ms);
    EXPECT_GE(waited, wait - 2s);  // real time goes on, too
    EXPECT_LE(waited, wait + 2s);
    ++failures;
  }
}

TEST(Reconnect, F48_AConnectionThatLastedStartsTheWaitAnew) {
  Reconnecting tcp({.initial = 10s, .max = 1000s, .jitter = 0});
  const auto wait_for_open = [&](int n) {
    const Duration waited = clock_until(
        tcp, [&] { return tcp.calls.open == n; }, 100ms);
    EXPECT_TRUE(tcp.until([&] { return tcp.theirs.get() != nullptr; }));
    return waited;
  };
  const auto end_after = [&](Duration lifetime, int n) {
    tcp.faults.advance_clock(lifetime);
    tcp.turns(1);
    ASSERT_TRUE(tcp.theirs.abort());
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == n; }));
  };
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1 && tcp.theirs.get() != nullptr; }));
  // Connections that end at once are failures in another dress: the wait grows.
  end_after(0s, 1);
  EXPECT_NEAR(static_cast<double>(wait_for_open(2) / 1s), 10, 2);
  end_after(0s, 2);
  EXPECT_NEAR(static_cast<double>(wait_for_open(3) / 1s), 20, 2);
  end_after(30s, 3);  // shorter than the 40 s that come next
  EXPECT_NEAR(static_cast<double>(wait_for_open(4) / 1s), 40, 2);
  end_after(100s, 4);  // longer than 80 s
  EXPECT_NEAR(static_cast<double>(wait_for_open(5) / 1s), 10, 2);
}

// A handler that gives a connection up for lack of an answer still wants the next one.
TEST(Reconnect, IsAskedForAfterAnEndOfOurOwn) {
  for (const bool enabled : {true, false}) {
    TcpClient::Reconnect how = kSoon;
    how.enabled = enabled;
    Reconnecting tcp(how);
    EXPECT_FALSE(tcp.client->reconnect()) << "connect() was never called";
    tcp.on.open = [](TcpConnection& c) { c.abort(); };
    tcp.on.close = [&](TcpConnection&, CloseReason why) {
      EXPECT_EQ(why.kind, Kind::aborted);
      if (tcp.calls.close >= 3) return;
      EXPECT_TRUE(tcp.client->reconnect());
      EXPECT_TRUE(tcp.client->reconnect());
    };
    ASSERT_TRUE(tcp.client->connect(tcp.address));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 3; }));
    run_turn(tcp.loop);
    EXPECT_EQ(tcp.client->state(), State::idle);
    EXPECT_TRUE(tcp.client->reconnect()) << "also later";
    EXPECT_EQ(tcp.client->state(), State::waiting);
    EXPECT_TRUE(tcp.client->reconnect());
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 4; }));
    run_turn(tcp.loop);
    EXPECT_EQ(tcp.client->stats().attempts, 4u);
  }
}

TEST(Reconnect, EndsTheConnectionInOrderFirst) {
  Reconnecting tcp(TcpClient::Reconnect::off());
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
  EXPECT_TRUE(tcp.client->reconnect());
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 2; }));
  EXPECT_EQ(tcp.calls.close, 1);
  EXPECT_EQ(tcp.reason->kind, Kind::local_close);
  EXPECT_EQ(tcp.client->state(), State::connected);
}

TEST(Reconnect, IsNotAskedForAnyMoreAfterClose) {
  Reconnecting tcp(kSoon);
  ASSERT_TRUE(tcp.client->connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
  EXPECT_TRUE(tcp.client->reconnect());
  tcp.client->close();
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }));
  run_for(tcp.loop, 20ms);
  EXPECT_EQ(tcp.client->stats().attempts, 1u);
  EXPECT_EQ(tcp.client->state(), State::idle);
}

// Unix paths at both ends: the file of an attempt is gone before the next.
TEST(Reconnect, F70_FromAUnixPathToo) {
  const TempFolder folder;
  const std::string ours = folder.file("client");
  TcpClient::Options options;
  options.bind_to = *SocketAddress::from_unix_path(ours);
  Reconnecting tcp(kSoon, options);
  const SocketAddress address = *SocketAddress::from_unix_path(folder.file("server"));
  ASSERT_TRUE(tcp.client->connect(address));  // nobody listens yet
  ASSERT_TRUE(tcp.until([&] { return tcp.connect_errors >= 3; }));
  for (const Error& error : tcp.errors) EXPECT_EQ(error.code(), ENOENT) << error.message();
  ASSERT_TRUE(tcp.server->listen(address));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
  EXPECT_TRUE(exists(ours));
  EXPECT_EQ(tcp.client->connection().get()->local_address(), *options.bind_to);
  ASSERT_TRUE(tcp.until([&] { return tcp.theirs.get() != nullptr; }));
  tcp.theirs.get()->close();
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 2; }));
  EXPECT_TRUE(exists(ours));
  tcp.client->close();
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.close == 2; }));
  EXPECT_FALSE(exists(ours));
}

TEST(Reconnect, F70_AClientsPathThatIsTakenIsLeftAlone) {
  const TempFolder folder;
  const std::string ours = folder.file("client");
  auto other = Socket::stream(SocketAddress::Family::unix_path);
  ASSERT_TRUE(other && other->bind(*SocketAddress::from_unix_path(ours)));
  Reconnecting tcp(kSoon, {.bind_to = *SocketAddress::from_unix_path(ours)});
  const SocketAddress address = *tcp.server->listen(abstract_address("taken"));
  ASSERT_TRUE(tcp.client->connect(address));
  ASSERT_TRUE(tcp.until([&] { return tcp.connect_errors >= 2; }));
  for (const Error& error : tcp.errors) EXPECT_EQ(error.code(), EADDRINUSE) << error.message();
  EXPECT_TRUE(exists(ours));
  ASSERT_EQ(::unlink(ours.c_str()), 0);
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
}

}  // namespace
}  // namespace weir::test
