// One pool of loops for several servers, and walks over the connections of each loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/route/relay.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// --- Options::pool -------------------------------------------------------------------------------

TEST(SharedPool, SeveralServersLiveOnTheSameLoops) {
  EventLoop loop;
  LoopPool pool(2);
  EchoServer first(loop, {.pool = &pool});
  EchoServer second(loop, {.pool = &pool, .accept = AcceptMode::exclusive});
  const std::array addresses{first.listen(), second.listen()};
  EXPECT_EQ(threads_of_weir(), 2);
  ASSERT_EQ(first.server.loop_count(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(&first.server.loop(i), &pool.loop(i));
    EXPECT_EQ(&second.server.loop(i), &pool.loop(i));
  }
  std::vector<TestClient> clients;
  serve_while(loop, [&] {
    for (int i = 0; i < 10; ++i) {
      clients.emplace_back(addresses[i % 2 == 0 ? 0 : 1]);
      EXPECT_TRUE(echoes(clients.back()));
    }
  });
  EXPECT_EQ(first.opened, 5u);
  EXPECT_EQ(second.opened, 5u);
}

TEST(SharedPool, TheEndOfOneServerLeavesThePoolToTheOther) {
  EventLoop loop;
  LoopPool pool(2);
  EchoServer stays(loop, {.pool = &pool});
  const SocketAddress address = stays.listen();
  {
    EchoServer goes(loop, {.pool = &pool});
    TestClient client(goes.listen());
    serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
    bool done = false;
    goes.server.shutdown(5s, [&] { done = true; });
    client.shutdown_write();
    EXPECT_TRUE(run_until(loop, [&] { return done; }));
  }
  {
    EchoServer destroyed(loop, {.pool = &pool});
    TestClient client(destroyed.listen());
    serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
  }
  TestClient client(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
}

TEST(SharedPool, AnEmptyPoolIsTheServersLoop) {
  EventLoop loop;
  LoopPool pool(0);
  EchoServer echo(loop, {.pool = &pool});
  TestClient client(echo.listen());
  EXPECT_EQ(&echo.server.loop(0), &loop);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
}

// A factory that throws on the second loop leaves nothing of the server on the pool.
TEST(SharedPool, AListenThatFailedMayBeRepeated) {
  EventLoop loop;
  LoopPool pool(2);
  TcpServer server(loop, {.pool = &pool});
  std::atomic<int> calls = 0;
  server.handlers_per_loop([&](EventLoop&) -> std::shared_ptr<ConnectionHandler> {
    if (++calls == 2) throw std::runtime_error("no handler today");
    return std::make_shared<ConnectionHandler>();
  });
  EXPECT_THROW(static_cast<void>(server.listen("127.0.0.1:0")), std::runtime_error);
  EXPECT_TRUE(server.listen("127.0.0.1:0").has_value());
  EXPECT_EQ(server.loop_count(), 2u);
}

TEST(SharedPool, F60_APoolAndThreadsEndTheProgramWithASentence) {
  EventLoop loop;
  LoopPool pool(1);
  EXPECT_DEATH(TcpServer(loop, {.threads = 1, .pool = &pool}), "both a pool and threads");
}

// Clients of one server are joined with clients of the other: each waits on its loop for one.
TEST(SharedPool, ConnectionsOfTwoServersAreRelayed) {
  EventLoop loop;
  LoopPool pool(2);
  TcpServer front(loop, {.pool = &pool});
  TcpServer back(loop, {.pool = &pool});
  std::mutex mutex;
  std::map<EventLoop*, std::vector<ConnectionRef>> waiting;  // mutex
  std::atomic<int> relayed = 0;
  back.on_open([&](TcpConnection& connection) {
    const std::lock_guard lock(mutex);
    waiting[&connection.loop()].push_back(connection.ref());
  });
  front.on_open([&](TcpConnection& connection) {
    const std::lock_guard lock(mutex);
    auto& here = waiting[&connection.loop()];
    ASSERT_FALSE(here.empty());
    relay(connection, *here.back().get());
    here.pop_back();
    ++relayed;
  });
  const SocketAddress front_address = front.listen("127.0.0.1:0").value();
  const SocketAddress back_address = back.listen("127.0.0.1:0").value();
  std::vector<TestClient> backs;
  for (int i = 0; i < 4; ++i) backs.emplace_back(back_address);
  ASSERT_TRUE(run_until(loop, [&] { return back.connection_count() == 4; }));
  std::vector<TestClient> fronts;
  for (int i = 0; i < 4; ++i) fronts.emplace_back(front_address);
  ASSERT_TRUE(run_until(loop, [&] { return relayed == 4; }));
  std::string heard;
  for (std::size_t i = 0; i < 4; ++i) fronts[i].send_all(std::to_string(i));
  for (TestClient& client : backs) heard += client.receive_exactly(1);
  std::ranges::sort(heard);
  EXPECT_EQ(heard, "0123");
  bool done = false;
  for (TestClient& client : fronts) client.close();
  for (TestClient& client : backs) EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
  for (TestClient& client : backs) client.close();
  front.shutdown(5s, [&] { back.shutdown(5s, [&] { done = true; }); });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
}

// --- for_each_connection() -----------------------------------------------------------------------

class Walk : public ::testing::TestWithParam<std::size_t> {
 protected:
  void connect(std::uint64_t count) {
    const SocketAddress address = echo->listen();
    for (std::uint64_t i = 0; i < count; ++i) clients.emplace_back(address);
    ASSERT_TRUE(run_until(loop, [&] { return echo->opened == count; }));
  }
  EventLoop loop;
  std::optional<EchoServer> echo{std::in_place, loop, TcpServer::Options{.threads = GetParam()}};
  std::vector<TestClient> clients;
};
INSTANTIATE_TEST_SUITE_P(Tcp, Walk, ::testing::Values(0u, 3u), [](const auto& threads) {
  return "Threads" + std::to_string(threads.param);
});

TEST_P(Walk, EveryConnectionIsVisitedOnItsLoopAndDoneComesLast) {
  connect(12);
  std::atomic<int> visited = 0;
  std::atomic<int> astray = 0;
  int at_done = -1;
  std::thread other([&] {
    echo->server.for_each_connection(
        [&](TcpConnection& connection) {
          ++visited;
          if (!connection.loop().in_loop_thread()) ++astray;
          connection.send("hello");
        },
        [&] {
          EXPECT_TRUE(loop.in_loop_thread());
          at_done = visited;
        });
  });
  EXPECT_TRUE(run_until(loop, [&] { return at_done >= 0; }));
  other.join();
  EXPECT_EQ(at_done, 12);
  EXPECT_EQ(astray, 0);
  serve_while(loop, [&] {
    for (TestClient& client : clients) EXPECT_EQ(client.receive_exactly(5), "hello");
  });
}

TEST_P(Walk, F06_ConnectionsMayEndInsideTheCall) {
  connect(6);
  std::atomic<int> visited = 0;
  bool done = false;
  // Twice in one turn: the second walk meets those that the first has ended.
  echo->server.for_each_connection([&](TcpConnection& connection) {
    ++visited;
    connection.abort();
  });
  echo->server.for_each_connection([&](TcpConnection&) { ++visited; }, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_EQ(visited, 6);
  EXPECT_TRUE(run_until(loop, [&] { return echo->closed == 6; }));
}

TEST_P(Walk, AnExceptionEndsTheConnectionThatItWasCalledWith) {
  ExpectLog said("an exception left a posted function");
  connect(3);
  std::atomic<int> visited = 0;
  echo->server.for_each_connection([&](TcpConnection&) {
    if (++visited == 2) throw std::runtime_error("a bug");
  });
  EXPECT_TRUE(
      run_until(loop, [&] { return visited == 3 && echo->server.connection_count() == 2; }));
  EXPECT_EQ(echo->closed_for(Kind::handler_threw), 1u);
}

TEST_P(Walk, F06_AServerDestroyedMeanwhileCallsNothingMore) {
  bool done = false;
  std::atomic<int> visited = 0;
  connect(1);
  echo->server.for_each_connection([&](TcpConnection&) { ++visited; }, [&] { done = true; });
  echo.reset();
  run_turn(loop);
  EXPECT_FALSE(done);
  EXPECT_LE(visited, GetParam() == 0 ? 0 : 1);
}

}  // namespace
}  // namespace weir::test
