// How a server ends: shutdown(), and destruction at any moment.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "support/temp_files.h"
#include "unit/tcp/ways.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

class TcpServerEnd : public EveryWay {};

INSTANTIATE_TEST_SUITE_P(TcpServer, TcpServerEnd, ::testing::ValuesIn(all_ways()),
                         ::testing::PrintToStringParamName());

// --- shutdown ------------------------------------------------------------------------------------

TEST_P(TcpServerEnd, F42_ShutdownServesWhatIsQueued) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  // Without threads nobody accepts until the shutdown does; with threads some were taken before.
  std::vector<TestClient> clients;
  for (int i = 0; i < 100; ++i) {
    clients.emplace_back(address);
    clients.back().send_all("last words");
  }
  bool done = false;
  echo.server.shutdown(5s, [&] { done = true; });
  serve_while(loop, [&] {
    for (TestClient& client : clients) {
      EXPECT_EQ(client.receive_until_eof(), "last words");
      EXPECT_EQ(client.ended(), TestClient::End::eof);
      client.close();
    }
  });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
  EXPECT_EQ(echo.closed, 100u);
  EXPECT_EQ(echo.closed_for(Kind::server_stopped), 100u);
  EXPECT_EQ(echo.server.connection_count(), 0u);
}

// The results of clients that connect and send all the time.
struct Seen {
  std::atomic<int> echoed{0};
  std::atomic<int> ended{0};  // by an orderly end, before the answer
  std::atomic<int> reset{0};
};

void connect_until_refused(const SocketAddress& address, Seen& seen) {
  for (;;) {
    TestClient client;
    if (client.try_connect(address) != 0) return;
    client.send_all("ping");
    if (client.receive_exactly(4) == "ping") {
      ++seen.echoed;
    } else if (client.ended() == TestClient::End::eof) {
      ++seen.ended;
    } else {
      ++seen.reset;
    }
  }
}

void stop_while_clients_connect(EventLoop& loop, const TcpServer::Options& options,
                                const std::string& listen_on) {
  EchoServer echo(loop, options);
  const SocketAddress address = echo.listen(listen_on);
  Seen seen;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] { connect_until_refused(address, seen); });
  }
  EXPECT_TRUE(run_until(loop, [&] { return seen.echoed >= 100; }));
  bool done = false;
  echo.server.shutdown(5s, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(seen.reset, 0);
  EXPECT_EQ(echo.closed, echo.opened);
}

TEST_P(TcpServerEnd, F42_NobodyIsResetWhileClientsConnectAndSend) {
  stop_while_clients_connect(loop, options(), "127.0.0.1:0");
}

TEST_P(TcpServerEnd, F42_NobodyIsResetWhileClientsConnectToAUnixSocketAndSend) {
  stop_while_clients_connect(loop, options(), abstract_address("stop"));
}

TEST_P(TcpServerEnd, F69_StuckPeersAreResetAtTheDeadline) {
  constexpr std::size_t kEach = 5;
  TcpServer::Options with = options();
  with.max_output = 64 << 20;
  with.high_water = 64 << 20;
  EchoServer echo(loop, with);
  const SocketAddress address = echo.listen();
  std::vector<TestClient> readers_of_nothing(kEach);  // our output to them is stuck
  std::vector<TestClient> silent;                     // never answer our FIN
  for (TestClient& client : readers_of_nothing) client.set_buffers(0, 4096);
  serve_while(loop, [&] {
    for (TestClient& client : readers_of_nothing) {
      client.connect(address);
      client.send_some(std::string(8 << 20, 'x'), 300ms);
    }
    for (std::size_t i = 0; i < kEach; ++i) {
      silent.emplace_back(address);
      EXPECT_TRUE(echoes(silent.back()));
    }
  });
  const TimePoint start = Clock::now();
  TimePoint end;
  std::uint64_t turn_of_deadline = 0;
  std::uint64_t turn_of_end = 0;
  echo.server.shutdown(300ms, [&] {
    end = Clock::now();
    turn_of_end = loop.stats().turns;
  });
  loop.run_after(300ms, [&] { turn_of_deadline = loop.stats().turns; });
  EXPECT_TRUE(run_until(loop, [&] { return end != TimePoint(); }));
  EXPECT_GE(end - start, 300ms);
  EXPECT_LT(end - start, 2s);  // without the deadline it would be the 5 s of linger_timeout
  if (GetParam().threads == 0) {
    EXPECT_LE(turn_of_end, turn_of_deadline + 3);
  }
  EXPECT_EQ(echo.closed, 2 * kEach);
  EXPECT_EQ(echo.closed_for(Kind::server_stopped), 2 * kEach);
  EXPECT_EQ(echo.server.connection_count(), 0u);
}

TEST_P(TcpServerEnd, F59_ShutdownBeforeListenAndListenAfterShutdown) {
  TcpServer server(loop, options());
  bool done = false;
  server.shutdown(5s, [&] { done = true; });
  EXPECT_FALSE(done) << "called from inside the call";
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  const auto refused = server.listen("127.0.0.1:0");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("the server was shut down"), std::string::npos);
}

TEST_P(TcpServerEnd, F59_EveryDoneIsCalledOnceOnTheServersLoop) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  TestClient client(address);
  ASSERT_TRUE(run_until(loop, [&] { return echo.opened == 1; }));
  std::vector<int> order;
  int astray = 0;
  const auto note = [&](int which) {
    return [&, which] {
      order.push_back(which);
      if (!loop.in_loop_thread()) ++astray;
    };
  };
  echo.server.shutdown(5s, note(1));
  echo.server.shutdown(5s, {});  // no function to call
  echo.server.shutdown(5s, note(2));
  EXPECT_TRUE(order.empty());
  serve_while(loop, [&] {
    EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
    client.close();
  });
  ASSERT_TRUE(run_until(loop, [&] { return order.size() == 2; }));
  echo.server.shutdown(5s, {});  // it is over already
  echo.server.shutdown(5s, note(3));
  EXPECT_EQ(order.size(), 2u);
  ASSERT_TRUE(run_until(loop, [&] { return order.size() == 3; }));
  run_turn(loop);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(astray, 0);
}

TEST_P(TcpServerEnd, F59_ALaterShutdownBringsTheDeadlineForward) {
  EchoServer echo(loop, options());
  TestClient silent(echo.listen());
  ASSERT_TRUE(run_until(loop, [&] { return echo.opened == 1; }));
  int done = 0;
  const TimePoint start = Clock::now();
  echo.server.shutdown(1h, [&] { ++done; });
  run_for(loop, 20ms);
  EXPECT_EQ(done, 0);
  echo.server.shutdown(50ms, [&] { ++done; });
  echo.server.shutdown(1h, [&] { ++done; });  // and none back
  EXPECT_TRUE(run_until(loop, [&] { return done == 3; }));
  EXPECT_GE(Clock::now() - start, 70ms);
  EXPECT_EQ(echo.closed_for(Kind::server_stopped), 1u);
}

TEST_P(TcpServerEnd, F59_ShutdownFromAnotherThread) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  std::vector<TestClient> clients;
  bool done = false;
  serve_while(loop, [&] {
    for (int i = 0; i < 10; ++i) clients.emplace_back(address);
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
    echo.server.shutdown(5s, [&] { done = loop.in_loop_thread(); });
    for (TestClient& client : clients) {
      EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
      client.close();
    }
  });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_EQ(echo.closed, 10u);
}

TEST_P(TcpServerEnd, F59_ShutdownFromInsideAHandler) {
  TcpServer server(loop, options());
  std::atomic<bool> done = false;
  server.on_data([&](TcpConnection& connection, Buffer& in) {
    connection.send(in);
    server.shutdown(5s, [&] { done = true; });
  });
  const auto address = server.listen("127.0.0.1:0").value();
  TestClient client(address);
  serve_while(loop, [&] {
    client.send_all("the end");
    EXPECT_EQ(client.receive_until_eof(), "the end");
    client.close();
  });
  EXPECT_TRUE(run_until(loop, [&] { return done.load(); }));
}

// A client waits to be accepted while the handler of another connection shuts the server down: its
// events come after that handler, and neither connection gets the events of the other.
TEST_P(TcpServerEnd, F05_ShutdownInsideAHandlerAcceptsNobodyInsideIt) {
  TcpServer server(loop, options());
  std::atomic<bool> inside = false;
  std::atomic<bool> nested = false;
  std::atomic<bool> done = false;
  TestClient late;
  SocketAddress address;
  server.on_open([&](TcpConnection& connection) {
    if (inside) nested = true;  // on the same loop
    connection.send("welcome");
  });
  server.on_data([&](TcpConnection& connection, Buffer& in) {
    in.clear();
    if (late.is_open()) return;
    inside = GetParam().threads == 0;
    connection.send("for the first");
    late.connect(address);
    server.shutdown(5s, [&] { done = true; });
    connection.send(" only");
    inside = false;
  });
  address = server.listen(abstract_address("end")).value();
  TestClient first(address);
  serve_while(loop, [&] {
    EXPECT_EQ(first.receive_exactly(7), "welcome");
    first.send_all("go");
    EXPECT_EQ(first.receive_until_eof(), "for the first only");
    EXPECT_EQ(late.receive_until_eof(), "welcome");
    first.close();
    late.close();
  });
  EXPECT_TRUE(run_until(loop, [&] { return done.load(); }));
  EXPECT_FALSE(nested);
}

TEST_P(TcpServerEnd, F62_ADoneThatThrowsCostsTheOthersNothing) {
  EchoServer echo(loop, options());
  static_cast<void>(echo.listen());
  int told = 0;
  echo.server.shutdown(5s, [&] { ++told; });
  echo.server.shutdown(5s, [] { throw std::runtime_error("done"); });
  echo.server.shutdown(5s, [&] { ++told; });
  echo.server.shutdown(5s, [&] { ++told; });
  const auto all_told = [&] { return told == 3; };
  EXPECT_THROW(static_cast<void>(run_until(loop, all_told)), std::runtime_error);
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(run_until(loop, all_told));
}

TEST_P(TcpServerEnd, F06_DestroyedInOneDoneTellsNoOther) {
  std::optional<EchoServer> echo;
  echo.emplace(loop, options());
  static_cast<void>(echo->listen());
  echo->server.shutdown(5s, [&] { echo.reset(); });
  echo->server.shutdown(5s, [] { ADD_FAILURE() << "told after the end"; });
  EXPECT_TRUE(run_until(loop, [&] { return !echo; }));
  run_for(loop, 10ms);
}

// The acceptor takes the first of the waiting connections, the shutdown takes the others. Each sets
// the end of the grace again, and the server is destroyed before it comes.
TEST_P(TcpServerEnd, F06_DestroyedAfterAShutdownInsideOnOpenOfAShutdown) {
  std::optional<TcpServer> server(std::in_place, loop, options());
  bool done = false;
  server->on_open([&](TcpConnection&) {
    server->shutdown({.deadline = 5s, .grace = 100ms}, [&] { done = true; });
  });
  const auto address = server->listen(abstract_address("end")).value();
  std::vector<TestClient> clients;
  for (int i = 0; i < 3; ++i) clients.emplace_back(address);
  server->shutdown({.deadline = 5s, .grace = 100ms}, {});
  EXPECT_TRUE(run_until(loop, [&] { return server->connection_count() == 3; }));
  clients.clear();
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  server.reset();
  run_for(loop, 150ms);
}

// --- destruction
// -----------------------------------------------------------------------------------

// Destroyed with connections that are served that moment; the loop goes on, and may go too.
TEST_P(TcpServerEnd, F06_DestroyedWithLiveConnections) {
  for (const bool one_more_turn : {false, true}) {
    std::vector<TestClient> clients;
    std::atomic<bool> over = false;
    std::thread traffic;
    {
      EventLoop own;
      std::optional<EchoServer> echo;
      echo.emplace(own, options());
      const SocketAddress address = echo->listen();
      echo->listen();
      for (int i = 0; i < 10; ++i) clients.emplace_back(address);
      traffic = std::thread([&] {
        while (!over) {
          for (TestClient& client : clients) client.send_some("ping", 0s);
        }
      });
      EXPECT_TRUE(run_until(own, [&] { return echo->server.stats().bytes_out > 1000; }));
      echo.reset();
      if (one_more_turn) run_turn(own);
    }
    over = true;
    traffic.join();
    for (TestClient& client : clients) EXPECT_NE(client.wait_for_end(), TestClient::End::open);
  }
}

TEST_P(TcpServerEnd, F06_DestroyedInATimerATaskAndInDone) {
  enum class Where { timer, task, done, last_handshakes, stopping };
  for (const Where where :
       {Where::timer, Where::task, Where::done, Where::last_handshakes, Where::stopping}) {
    std::optional<EchoServer> echo;
    echo.emplace(loop, options());
    const SocketAddress address = echo->listen();
    std::vector<TestClient> clients;
    for (int i = 0; i < 5; ++i) clients.emplace_back(address);
    ASSERT_TRUE(run_until(loop, [&] { return echo->opened == 5; }));
    bool gone = false;
    const auto destroy = [&] {
      echo.reset();
      gone = true;
    };
    switch (where) {
      case Where::timer:
        loop.run_after(0ms, destroy);
        break;
      case Where::task:
        loop.post(destroy);
        break;
      case Where::done:
        for (TestClient& client : clients) client.close();
        echo->server.shutdown(5s, destroy);
        break;
      case Where::last_handshakes:  // of a shutdown that is never said to be over
      case Where::stopping:         // the clients keep it waiting
        echo->server.shutdown(5s, [&] { ADD_FAILURE() << "told after the end"; });
        loop.run_after(where == Where::stopping ? 80ms : 0ms, destroy);
        break;
    }
    EXPECT_TRUE(run_until(loop, [&] { return gone; }));
    for (TestClient& client : clients) client.close();
    run_for(loop, 10ms);
    EXPECT_EQ(internal::core_of(loop).timers().size(), 0u);
    EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
  }
}

TEST_P(TcpServerEnd, F59_DestroyedInTheTurnOfAShutdownFromElsewhere) {
  for (int shift = 0; shift < 2; ++shift) {
    std::optional<EchoServer> echo;
    echo.emplace(loop, options());
    const SocketAddress address = echo->listen();
    TestClient client(address);
    ASSERT_TRUE(run_until(loop, [&] { return echo->opened == 1; }));
    // Timers come before posted tasks in a turn: the shutdown finds a server that has just gone.
    loop.run_at(loop.now(), [&] {
      if (shift == 0) echo->server.shutdown(5s, [] { ADD_FAILURE() << "told after the end"; });
      on_other_thread(
          [&] { echo->server.shutdown(5s, [] { ADD_FAILURE() << "told after the end"; }); });
      echo.reset();
    });
    EXPECT_TRUE(run_until(loop, [&] { return !echo; }));
    run_for(loop, 10ms);
  }
}

// --- destruction from inside the handlers of the server's own loop
// ---------------------------------------------

enum class Inside {
  on_open,
  on_data,
  on_half_close,
  on_blocked,
  on_drained,
  on_close,
  posted_to_connection,
  destructor_of_context,
  on_open_of_shutdown,  // of a connection that the shutdown took from the queue
  second_listener,
};

using InsideCase = std::tuple<Inside, Trigger, std::size_t>;

class TcpServerInside : public ::testing::TestWithParam<InsideCase> {};

std::string inside_name(const ::testing::TestParamInfo<InsideCase>& of) {
  constexpr std::array kNames{"OnOpen",           "OnData",        "OnHalfClose", "OnBlocked",
                              "OnDrained",        "OnClose",       "Posted",      "Context",
                              "OnOpenOfShutdown", "SecondListener"};
  const auto [inside, trigger, others] = of.param;
  return std::string(kNames.at(static_cast<std::size_t>(inside))) +
         (trigger == Trigger::edge ? "Edge" : "Level") + "Beside" + std::to_string(others);
}

constexpr std::array kInsides{Inside::on_open,
                              Inside::on_data,
                              Inside::on_half_close,
                              Inside::on_blocked,
                              Inside::on_drained,
                              Inside::on_close,
                              Inside::posted_to_connection,
                              Inside::destructor_of_context,
                              Inside::on_open_of_shutdown,
                              Inside::second_listener};

INSTANTIATE_TEST_SUITE_P(TcpServer, TcpServerInside,
                         ::testing::Combine(::testing::ValuesIn(kInsides),
                                            ::testing::Values(Trigger::level, Trigger::edge),
                                            ::testing::Values(std::size_t{0}, std::size_t{4})),
                         inside_name);

// Calls a function at its end.
struct AtEnd {
  explicit AtEnd(std::function<void()> what) : call(std::move(what)) {}
  ~AtEnd() { call(); }
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;
  std::function<void()> call;
};

TEST_P(TcpServerInside, F06_DestroyedInsideItsHandler) {
  const Inside inside = std::get<0>(GetParam());
  const Trigger trigger = std::get<1>(GetParam());
  const std::size_t others = std::get<2>(GetParam());
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(
      loop,
      TcpServer::Options{.trigger = trigger, .high_water = 64 * 1024, .max_output = 64 << 20});
  bool armed = false;                  // the others are there first
  int after = 0;                       // calls of handlers once it is gone
  std::atomic<bool> answered = false;  // more than the kernel takes while nobody reads
  const auto at = [&](Inside place) {
    if (!server) ++after;
    if (place == inside && armed) server.reset();
  };
  server->on_open([&](TcpConnection& connection) {
    at(inside == Inside::on_open_of_shutdown ? inside : Inside::on_open);
    if (!server || !armed) return;
    if (inside == Inside::posted_to_connection) {
      connection.ref().post([&](TcpConnection&) { at(Inside::posted_to_connection); });
    }
    if (inside == Inside::destructor_of_context) {
      connection.set_context<AtEnd>([&] { at(Inside::destructor_of_context); });
    }
  });
  server->on_data([&](TcpConnection& connection, Buffer& in) {
    in.clear();
    if (inside == Inside::on_blocked || inside == Inside::on_drained) {
      connection.send(std::string(16 << 20, 'x'));
      answered = true;
    }
    at(Inside::on_data);
  });
  server->on_half_close([&](TcpConnection&) { at(Inside::on_half_close); });
  server->on_blocked([&](TcpConnection&) { at(Inside::on_blocked); });
  server->on_drained([&](TcpConnection&) { at(Inside::on_drained); });
  server->on_close([&](TcpConnection&, CloseReason) { at(Inside::on_close); });
  const auto address = server->listen("127.0.0.1:0").value();
  const auto second = server->listen("127.0.0.1:0").value();

  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < others; ++i) clients.emplace_back(i % 2 == 0 ? address : second);
  ASSERT_TRUE(run_until(loop, [&] { return server->connection_count() == others; }));
  armed = true;

  if (inside == Inside::on_open_of_shutdown) {
    std::vector<TestClient> queued;
    for (int i = 0; i < 3; ++i) queued.emplace_back(i == 1 ? second : address);
    faults.on(Call::accept4).first(2).fail(EAGAIN);  // for clients that come before the shutdown
    // Too short to wait for the last handshakes.
    server->shutdown(10ms, [&] { ADD_FAILURE() << "told after the end"; });
    EXPECT_NE(server, nullptr) << "on_open came inside the call";
    EXPECT_TRUE(run_until(loop, [&] { return server == nullptr; }));
    run_for(loop, 10ms);
    for (TestClient& client : queued) EXPECT_NE(client.wait_for_end(), TestClient::End::open);
  } else {
    serve_while(loop, [&] {
      TestClient client;  // may be reset before it knows that it is connected
      const int error = client.try_connect(inside == Inside::second_listener ? second : address);
      if (error != 0) {
        EXPECT_EQ(error, ECONNRESET);
        return;
      }
      client.send_all("ping");
      if (inside == Inside::on_blocked || inside == Inside::on_drained) {
        EXPECT_TRUE(wait_until([&] { return answered.load(); }));
      }
      if (inside == Inside::on_drained) static_cast<void>(client.receive_exactly(16 << 20));
      if (inside == Inside::second_listener) {
        loop.post([&] { server.reset(); });
      } else if (inside != Inside::on_blocked) {
        client.shutdown_write();
      }
      static_cast<void>(client.wait_for_end());
    });
    EXPECT_TRUE(run_until(loop, [&] { return !server; }));
    run_for(loop, 10ms);
  }
  // The one whose context or whose on_close it was had its end already.
  EXPECT_EQ(after, 0);
  for (TestClient& client : clients) EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
  EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
  EXPECT_EQ(TestClient().try_connect(second), ECONNREFUSED);
}

TEST(TcpServerInsideAnother, F06_DestroyedInAHandlerOfAnotherServer) {
  EventLoop loop;
  std::optional<EchoServer> victim;
  victim.emplace(loop);
  const SocketAddress address = victim->listen();
  std::vector<TestClient> clients;
  for (int i = 0; i < 5; ++i) clients.emplace_back(address);
  ASSERT_TRUE(run_until(loop, [&] { return victim->opened == 5; }));

  TcpServer killer(loop);
  killer.on_data([&](TcpConnection& connection, Buffer& in) {
    victim.reset();
    connection.send(in);
  });
  const auto at = killer.listen("127.0.0.1:0").value();
  TestClient client(at);
  client.send_all("ping");
  for (TestClient& other : clients) other.send_all("ping");  // in the same batch
  serve_while(loop, [&] { EXPECT_EQ(client.receive_exactly(4), "ping"); });
  for (TestClient& other : clients) EXPECT_EQ(other.wait_for_end(), TestClient::End::reset);
}

TEST(TcpServerInsideAnother, F60_DestroyedOnAnotherThreadEndsTheProgramWithASentence) {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(loop);
  EXPECT_DEATH(std::thread([&] { server.reset(); }).join(), "TcpServer::~TcpServer");
}

TEST(TcpServerInsideAnother, F43_WhatAFactoryThrowsComesOutOfListen) {
  for (const std::size_t threads : {0u, 3u}) {
    EventLoop loop;
    TcpServer server(loop, {.threads = threads});
    std::atomic<int> calls = 0;
    server.handlers_per_loop([&](EventLoop&) -> std::shared_ptr<ConnectionHandler> {
      if (++calls == (threads == 0 ? 1 : 2)) throw std::runtime_error("no handler today");
      return std::make_shared<ConnectionHandler>();
    });
    const auto before = open_descriptors();
    EXPECT_THROW(static_cast<void>(server.listen("127.0.0.1:0")), std::runtime_error);
    EXPECT_EQ(server.loop_count(), 0u);
    EXPECT_EQ(open_descriptors(), before);
    const auto bound = server.listen("127.0.0.1:0");  // the next one goes well
    ASSERT_TRUE(bound.has_value());
    TestClient client(*bound);
    EXPECT_TRUE(run_until(loop, [&] { return server.connection_count() == 1; }));
  }
}

}  // namespace
}  // namespace weir::test
