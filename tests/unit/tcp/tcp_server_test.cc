#include "weir/net/tcp/tcp_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "unit/tcp/ways.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

class TcpServerWays : public EveryWay {};

INSTANTIATE_TEST_SUITE_P(TcpServer, TcpServerWays, ::testing::ValuesIn(all_ways()),
                         ::testing::PrintToStringParamName());

std::uint64_t sum_of(const TcpServer::Stats& stats) {
  return std::accumulate(stats.closed.begin(), stats.closed.end(), std::uint64_t{0});
}

TEST_P(TcpServerWays, EveryConnectionIsServedAndCounted) {
  constexpr std::size_t kClients = 60;
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  std::vector<TestClient> clients;
  serve_while(loop, [&] {
    for (std::size_t i = 0; i < kClients; ++i) clients.emplace_back(address);
    for (std::size_t i = 0; i < kClients; ++i) {
      EXPECT_TRUE(echoes(clients[i], "message " + std::to_string(10 + i)));
    }
  });
  // (A client may see the last bytes before the server has counted them.)
  EXPECT_TRUE(run_until(loop, [&] { return echo.server.stats().bytes_out == kClients * 10; }));
  TcpServer::Stats stats = echo.server.stats();
  EXPECT_EQ(stats.connections, kClients);
  EXPECT_EQ(echo.server.connection_count(), kClients);
  EXPECT_EQ(stats.accepted, kClients);
  EXPECT_EQ(echo.opened, kClients);
  EXPECT_EQ(stats.bytes_in, kClients * 10);
  EXPECT_EQ(stats.bytes_out, kClients * 10);

  clients.clear();
  ASSERT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 0; }));
  stats = echo.server.stats();
  EXPECT_EQ(echo.closed, kClients);
  EXPECT_EQ(stats.closed_by(Kind::peer_eof), kClients);
  EXPECT_EQ(sum_of(stats), kClients);
  EXPECT_EQ(stats.refused + stats.shed + stats.accept_errors + stats.accept_back_offs, 0u);
}

TEST_P(TcpServerWays, HandlersRunOnTheConnectionsLoop) {
  TcpServer server(loop, options());
  std::mutex mutex;
  std::map<EventLoop*, int> opened;  // mutex
  std::atomic<int> astray = 0;
  server.on_open([&](TcpConnection& connection) {
    if (!connection.loop().in_loop_thread()) ++astray;
    const std::lock_guard lock(mutex);
    ++opened[&connection.loop()];
  });
  const auto address = server.listen("127.0.0.1:0").value();
  const std::size_t loops = std::max<std::size_t>(GetParam().threads, 1);
  ASSERT_EQ(server.loop_count(), loops);
  const std::size_t each = 60 / loops;

  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < 60; ++i) clients.emplace_back(address);
  ASSERT_TRUE(run_until(loop, [&] {
    const std::lock_guard lock(mutex);
    int sum = 0;
    for (const auto& [on, count] : opened) sum += count;
    return sum == 60;
  }));
  EXPECT_EQ(astray, 0);
  const std::lock_guard lock(mutex);
  for (const auto& [on, count] : opened) {
    bool known = false;
    for (std::size_t i = 0; i < loops; ++i) known = known || &server.loop(i) == on;
    EXPECT_TRUE(known);
    if (GetParam().accept == AcceptMode::single) {
      EXPECT_EQ(count, static_cast<int>(each));
    }
  }
  // By hash or in turn, each loop gets some. (Exclusively, who is idle takes what comes.)
  if (GetParam().accept != AcceptMode::exclusive) {
    EXPECT_EQ(opened.size(), loops);
  }
}

// Records on which loop it was made, used and destroyed.
struct LoopHandler final : ConnectionHandler {
  struct Record {
    std::atomic<int> made{0};
    std::atomic<int> destroyed{0};
    std::atomic<int> opened{0};
    std::atomic<int> astray{0};
  };
  LoopHandler(EventLoop& on, Record& in) : loop(on), record(in) {
    ++record.made;
    note();
  }
  ~LoopHandler() override {
    ++record.destroyed;
    note();
  }
  void on_open(TcpConnection& connection) override {
    ++record.opened;
    note();
    if (&connection.loop() != &loop) ++record.astray;
  }
  void on_data(TcpConnection& connection, Buffer& in) override {
    note();
    connection.send(in);
  }
  void note() {
    if (!loop.in_loop_thread()) ++record.astray;
  }
  EventLoop& loop;
  Record& record;
};

TEST_P(TcpServerWays, HandlersPerLoopAreMadeOnceOnEachLoopsThread) {
  LoopHandler::Record record;
  const int loops = std::max(static_cast<int>(GetParam().threads), 1);
  {
    TcpServer server(loop, options());
    server.handlers_per_loop(
        [&](EventLoop& on) { return std::make_shared<LoopHandler>(on, record); });
    EXPECT_EQ(record.made, 0);
    const auto address = server.listen("127.0.0.1:0").value();
    EXPECT_EQ(record.made, loops);
    const auto second = server.listen("127.0.0.1:0").value();
    EXPECT_EQ(record.made, loops);
    std::vector<TestClient> clients;
    serve_while(loop, [&] {
      for (int i = 0; i < 20; ++i) clients.emplace_back(i % 2 == 0 ? address : second);
      for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
    });
  }
  run_turn(loop);
  EXPECT_EQ(record.opened, 20);
  EXPECT_EQ(record.destroyed, loops);
  EXPECT_EQ(record.astray, 0);
}

TEST(TcpServer, F57_WithoutThreadsListenIsAnErrorAndLeavesNothing) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EchoServer echo(loop, {.threads = 4});
  const auto before = open_descriptors();
  for (int again = 0; again < 3; ++again) {
    faults.on(Call::pthread_create).nth(3).fail(EAGAIN);
    const auto refused = echo.server.listen("127.0.0.1:0");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EAGAIN);
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(threads_of_weir(), 0);
    EXPECT_EQ(echo.server.loop_count(), 0u);
    faults.clear();
  }
  TestClient client(echo.listen());
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
}

TEST(TcpServer, WhereTheDescriptorLimitIsNotKnownItHasNoBound) {
  FaultTable faults;
  const ScopedFaults use(faults);
  faults.on(Call::getrlimit).fail(EPERM);
  EventLoop loop;
  EchoServer echo(loop, {});
  TestClient client(echo.listen());
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
}

TEST_P(TcpServerWays, AcceptedSocketsHaveTheOptions) {
  for (const bool on : {false, true}) {
    TcpServer::Options with = options();
    with.nodelay = on;
    with.keep_alive = on;
    if (on) with.user_timeout = 1500us;
    TcpServer server(loop, with);
    std::atomic<int> seen = 0;
    std::atomic<int> wrong = 0;
    server.on_open([&](TcpConnection& connection) {
      const auto option = [&](int level, int name) {
        int value = -1;
        socklen_t length = sizeof(value);
        ::getsockopt(connection.fd(), level, name, &value, &length);
        return value;
      };
      if ((option(IPPROTO_TCP, TCP_NODELAY) != 0) != on) ++wrong;
      if ((option(SOL_SOCKET, SO_KEEPALIVE) != 0) != on) ++wrong;
      if (option(IPPROTO_TCP, TCP_USER_TIMEOUT) != (on ? 2 : 0)) ++wrong;
      ++seen;
    });
    const auto address = server.listen("127.0.0.1:0").value();
    TestClient client(address);
    ASSERT_TRUE(run_until(loop, [&] { return seen == 1; }));
    EXPECT_EQ(wrong, 0);
  }
}

TEST_P(TcpServerWays, F41_ThoseAboveMaxConnectionsAreRefusedAndCounted) {
  ExpectLog said("5 connections are open, the most allowed");
  TcpServer::Options with = options();
  with.max_connections = 5;
  EchoServer echo(loop, with);
  const SocketAddress address = echo.listen();
  std::vector<TestClient> clients(5);
  serve_while(loop, [&] {
    for (TestClient& client : clients) {
      client.connect(address);
      EXPECT_TRUE(echoes(client));
    }
    for (int i = 0; i < 3; ++i) {
      TestClient refused(address);
      EXPECT_EQ(refused.wait_for_end(), TestClient::End::eof);
    }
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));  // they did not notice
  });
  TcpServer::Stats stats = echo.server.stats();
  EXPECT_EQ(stats.connections, 5u);
  EXPECT_EQ(stats.refused, 3u);
  EXPECT_EQ(stats.accepted, 8u);
  EXPECT_EQ(echo.opened, 5u);

  clients.back().close();
  ASSERT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 4; }));
  serve_while(loop, [&] {
    clients.back().connect(address);
    EXPECT_TRUE(echoes(clients.back()));
  });
  stats = echo.server.stats();
  EXPECT_EQ(stats.connections, 5u);
  EXPECT_EQ(stats.refused, 3u);
  EXPECT_EQ(stats.accepted, sum_of(stats) + stats.connections + stats.refused);
}

TEST_P(TcpServerWays, F41_EstablishedConnectionsAreServedInAnAcceptStorm) {
  EchoServer echo(loop, options());
  const SocketAddress address = echo.listen();
  constexpr int kStorm = 1000;
  Duration worst{};
  serve_while(loop, [&] {
    std::vector<TestClient> established;
    for (int i = 0; i < 10; ++i) established.emplace_back(address);
    for (TestClient& client : established) EXPECT_TRUE(echoes(client));
    std::atomic<bool> over = false;
    std::thread storm([&] {
      for (int i = 0; i < kStorm; ++i) TestClient client(address);
      over = true;
    });
    while (!over) {
      for (TestClient& client : established) {
        const TimePoint start = Clock::now();
        EXPECT_TRUE(echoes(client));
        worst = std::max(worst, Clock::now() - start);
      }
    }
    storm.join();
  });
  EXPECT_LT(worst, 1s);
  EXPECT_TRUE(run_until(loop, [&] { return echo.server.stats().accepted == kStorm + 10; }));
  EXPECT_TRUE(run_until(loop, [&] { return echo.closed == kStorm + 10; }));
}

// --- one loop, turn by turn ----------------------------------------------------------------------

TEST(TcpServer, F41_AcceptsOfOneTurnAreBoundedAndTheEstablishedHaveTheirs) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    EventLoop loop;
    EchoServer echo(loop, {.trigger = trigger});
    const SocketAddress address = echo.listen();
    TestClient established(address);
    ASSERT_TRUE(run_until(loop, [&] { return echo.opened == 1; }));
    std::vector<TestClient> queued;
    for (int i = 0; i < 300; ++i) queued.emplace_back(address);
    for (std::uint64_t before = 1; echo.opened < 301;) {
      established.send_all("ping");
      run_turn(loop);
      EXPECT_EQ(established.receive_exactly(4, 0s), "ping") << "not served in this turn";
      EXPECT_LE(echo.opened - before, 64u);
      ASSERT_GT(echo.opened, before);
      before = echo.opened;
    }
  }
}

TEST(TcpServer, OneAcceptAndNoOtherCallForAConnection) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  TcpServer server(loop, {});
  int opened = 0;
  server.on_open([&](TcpConnection&) { ++opened; });
  const auto address = server.listen("127.0.0.1:0").value();
  run_turn(loop);
  const auto accepts = faults.count(Call::accept4);
  const auto options = faults.count(Call::setsockopt);
  const auto names = faults.count(Call::getpeername) + faults.count(Call::getsockname);
  const auto controls = faults.count(Call::epoll_ctl);
  std::vector<TestClient> clients;
  for (int i = 1; i <= 10; ++i) {
    clients.emplace_back(address);
    ASSERT_TRUE(run_until(loop, [&] { return opened == i; }));
    run_turn(loop);
  }
  EXPECT_EQ(faults.count(Call::accept4) - accepts, 10u);
  EXPECT_EQ(faults.count(Call::setsockopt) - options, 0u);
  EXPECT_EQ(faults.count(Call::getpeername) + faults.count(Call::getsockname) - names, 0u);
  EXPECT_EQ(faults.count(Call::epoll_ctl) - controls, 10u);
}

// --- handlers ------------------------------------------------------------------------------------

TEST(TcpServer, UseHandlerServesAllConnections) {
  struct Shout final : ConnectionHandler {
    int opened = 0;
    void on_open(TcpConnection& connection) override {
      ++opened;
      connection.send("hello ");
    }
    void on_data(TcpConnection& connection, Buffer& in) override { connection.send(in); }
  };
  EventLoop loop;
  TcpServer server(loop);
  const auto handler = std::make_shared<Shout>();
  server.use_handler(handler);
  const auto address = server.listen("127.0.0.1:0").value();
  serve_while(loop, [&] {
    for (int i = 0; i < 3; ++i) {
      TestClient client(address);
      client.send_all("world");
      EXPECT_EQ(client.receive_exactly(11), "hello world");
    }
  });
  EXPECT_EQ(handler->opened, 3);
}

TEST(TcpServer, WithoutHandlersBytesAreThrownAway) {
  EventLoop loop;
  TcpServer server(loop);
  const auto address = server.listen("127.0.0.1:0").value();
  serve_while(loop, [&] {
    TestClient client(address);
    client.send_all(std::string(3 << 20, 'x'));
    client.shutdown_write();
    EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
  });
  EXPECT_TRUE(run_until(loop, [&] { return server.connection_count() == 0; }));
  EXPECT_EQ(server.stats().bytes_in, std::uint64_t{3} << 20);
}

TEST(TcpServer, StatsMayBeAskedFromAnyThreadWhileMoreAddressesAreAdded) {
  EventLoop loop;
  EchoServer echo(loop, {.threads = 2, .accept = AcceptMode::reuse_port});
  const SocketAddress address = echo.listen();
  std::atomic<bool> over = false;
  std::thread reader([&] {
    while (!over) {
      const TcpServer::Stats stats = echo.server.stats();
      EXPECT_LE(stats.closed_by(Kind::peer_eof), 50u);
      EXPECT_LE(echo.server.connection_count(), 50u);
    }
  });
  for (int i = 0; i < 20; ++i) echo.listen();
  serve_while(loop, [&] {
    for (int i = 0; i < 50; ++i) {
      TestClient client(address);
      EXPECT_TRUE(echoes(client));
    }
  });
  over = true;
  reader.join();
}

TEST(TcpServer, F60_WrongUseEndsTheProgramWithASentence) {
  EventLoop loop;
  TcpServer server(loop);
  const auto listening = [&] { return server.listen("127.0.0.1:0"); };
  EXPECT_DEATH(std::thread([&] { static_cast<void>(listening()); }).join(), "TcpServer::listen");
  EXPECT_DEATH(std::thread([&] { server.on_open({}); }).join(), "TcpServer::on_");
  EXPECT_DEATH(std::thread([&] { TcpServer other(loop); }).join(), "TcpServer::TcpServer");
  ASSERT_TRUE(listening().has_value());
  EXPECT_DEATH(server.on_data({}), "handlers must be set before the first listen");
  EXPECT_DEATH(server.use_handler({}), "handlers must be set before the first listen");
  EXPECT_DEATH(static_cast<void>(server.loop(1)), "TcpServer::loop");
}

TEST(TcpServer, F60_AFactoryThatReturnsNothingEndsTheProgramWithASentence) {
  EXPECT_DEATH(
      {
        EventLoop loop;
        TcpServer server(loop);
        server.handlers_per_loop([](EventLoop&) { return nullptr; });
        static_cast<void>(server.listen("127.0.0.1:0"));
      },
      "the factory returned no handler");
}

}  // namespace
}  // namespace weir::test
