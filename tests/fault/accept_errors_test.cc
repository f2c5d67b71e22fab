// The errors of accept(2) and epoll_ctl(2) that a listener may get, injected.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/loop_harness.h"
#include "support/spin_oracle.h"
#include "support/temp_files.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Cell {
  int error;
  Trigger trigger;
};

std::string cell_name(const ::testing::TestParamInfo<Cell>& cell) {
  return Errno(cell.param.error).name() +
         std::string(cell.param.trigger == Trigger::edge ? "Edge" : "Level");
}

std::vector<Cell> cells(const std::vector<int>& errors) {
  std::vector<Cell> result;
  for (const int error : errors) {
    result.push_back({error, Trigger::level});
    result.push_back({error, Trigger::edge});
  }
  return result;
}

class AcceptErrors : public ::testing::TestWithParam<Cell>, public LoopHarness {
 protected:
  // Connects and echoes while the loop turns; false when that takes longer.
  // Once the pause that may be under way is over. How long that takes in real time is a matter of
  // the machine's load; that there is no further pause is the acceptor's.
  bool served_next() {
    const std::uint64_t pauses = echo.server.stats().accept_back_offs;
    bool good = false;
    serve_while(loop, [&] {
      TestClient client(address);
      good = echoes(client);
    });
    return good && echo.server.stats().accept_back_offs == pauses;
  }

  const int error = GetParam().error;
  AllowLog said{"accept on 127.0.0.1:"};
  EchoServer echo{loop, {.trigger = GetParam().trigger}};
  const SocketAddress address = echo.listen();
};

// --- no descriptors ------------------------------------------------------------------------------

using OutOfDescriptors = AcceptErrors;
INSTANTIATE_TEST_SUITE_P(Accept, OutOfDescriptors, ::testing::ValuesIn(cells({EMFILE, ENFILE})),
                         cell_name);

TEST_P(OutOfDescriptors, F35_ThoseWhoWaitAreShedAndTheNextAreServed) {
  run_turn(loop);
  faults.on(Call::accept4).nth(1).fail(error);
  std::vector<TestClient> waiting;
  for (int i = 0; i < 3; ++i) waiting.emplace_back(address);
  ASSERT_TRUE(run_until(loop, [&] { return echo.server.stats().accept_back_offs == 1; }));
  for (TestClient& client : waiting) EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
  EXPECT_EQ(echo.server.stats().shed, 3u);
  EXPECT_EQ(echo.opened, 0u);
  EXPECT_TRUE(served_next());
  EXPECT_EQ(echo.server.stats().accept_back_offs, 1u);
  EXPECT_EQ(echo.server.stats().accepted, 1u);
}

TEST_P(OutOfDescriptors, F35_TheSpareServesManyTimes) {
  for (std::uint64_t round = 1; round <= 3; ++round) {
    faults.clear();
    faults.on(Call::accept4).nth(1).fail(error);
    TestClient client(address);
    ASSERT_TRUE(run_until(loop, [&] { return echo.server.stats().shed == round; }));
    EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
    EXPECT_EQ(echo.server.stats().accept_back_offs, round);
    run_for(loop, 120ms);
  }
}

TEST_P(OutOfDescriptors, F35_TheLoopRestsWhileNothingCanBeAccepted) {
  // Not even the spare helps: other threads take each descriptor that comes free.
  faults.on(Call::accept4).always().fail(error);
  std::vector<TestClient> waiting;
  for (int i = 0; i < 20; ++i) waiting.emplace_back(address);
  const auto accepts = faults.count(Call::accept4);
  const TimePoint start = Clock::now();
  EXPECT_TRUE(rests(loop, faults, 1300ms));
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(Clock::now() - start).count();
  EXPECT_GE(said.count(), 1u);
  EXPECT_LE(said.count(), static_cast<std::size_t>(seconds));
  EXPECT_LE(faults.count(Call::accept4) - accepts, 2 * 14u);
  faults.clear();
  serve_while(loop, [&] {  // nobody was lost
    const TimePoint released = Clock::now();
    for (TestClient& client : waiting) EXPECT_TRUE(echoes(client));
    EXPECT_LE(Clock::now() - released, 200ms);
  });
  EXPECT_EQ(echo.opened, 20u);
}

TEST_P(OutOfDescriptors, F35_EstablishedConnectionsDoNotNotice) {
  TestClient established(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(established)); });
  faults.on(Call::accept4).always().fail(error);
  TestClient waiting(address);
  serve_while(loop, [&] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(echoes(established));
  });
  EXPECT_GE(echo.server.stats().accept_back_offs, 1u);
}

// An edge and a re-queued rest of the budget may come in one turn.
TEST_P(OutOfDescriptors, F35_BacksOffOnceThoughAskedTwiceInOneTurn) {
  run_turn(loop);
  std::vector<TestClient> clients;
  for (int i = 0; i < 64; ++i) clients.emplace_back(address);
  TestClient late;
  faults.on(Call::accept4).nth(64).hook([&] { late.connect(address); });
  faults.on(Call::accept4).from(65).fail(error);
  ASSERT_TRUE(run_until(loop, [&] { return echo.server.stats().accept_back_offs > 0; }));
  run_turn(loop);
  EXPECT_EQ(echo.server.stats().accept_back_offs, 1u);
  bool done = false;
  echo.server.shutdown(0ms, [&] { done = true; });
  ASSERT_TRUE(run_until(loop, [&] { return done; }));
  run_for(loop, 250ms);  // no timer was left behind
}

// A connection that waited in the queue may be dead, and its descriptor free in the next turn.
TEST_P(OutOfDescriptors, F35_NobodyIsShedRightAfterOthersWereTaken) {
  run_turn(loop);
  faults.on(Call::accept4).nth(3).fail(error);
  std::vector<TestClient> clients;
  for (int i = 0; i < 6; ++i) clients.emplace_back(address);
  serve_while(loop, [&] {
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
  });
  EXPECT_EQ(faults.failed(Call::accept4), 1u);
  EXPECT_EQ(echo.server.stats().shed, 0u);
  EXPECT_EQ(echo.server.stats().accept_back_offs, 0u);
}

// A server that could not open its spare descriptor.
class AcceptSpare : public ::testing::Test, public LoopHarness {
 protected:
  void start(int error) {
    faults.on(Call::open).always().fail(error);
    echo.emplace(loop);
    address = echo->listen();
  }
  std::optional<EchoServer> echo;
  SocketAddress address;
};

// A connection that got the descriptor which another loop's use of the spare had set free.
TEST_F(AcceptSpare, F35_WhoTookTheSparesPlaceIsClosedInItsStead) {
  const ExpectLog said("accept on 127.0.0.1:");
  start(EMFILE);
  TestClient unlucky(address);
  EXPECT_TRUE(run_until(loop, [&] { return echo->server.stats().shed == 1; }));
  EXPECT_EQ(unlucky.wait_for_end(), TestClient::End::eof);
  EXPECT_EQ(echo->opened, 0u);
  faults.clear();
  serve_while(loop, [&] {
    TestClient next(address);
    EXPECT_TRUE(echoes(next));
  });
}

// Without /dev/null there is no spare descriptor, and connections are accepted all the same.
TEST_F(AcceptSpare, ASpareThatCannotBeHadForOtherReasonsIsDoneWithout) {
  start(ENOENT);
  serve_while(loop, [&] {
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
  });
  EXPECT_EQ(echo->server.stats().shed, 0u);
}

TEST_F(AcceptSpare, F35_WithoutASpareTheyWait) {
  const ExpectLog said("accept on 127.0.0.1:");
  start(EMFILE);
  faults.on(Call::accept4).always().fail(EMFILE);
  std::vector<TestClient> waiting;
  for (int i = 0; i < 5; ++i) waiting.emplace_back(address);
  EXPECT_TRUE(rests(loop, faults));
  EXPECT_EQ(echo->server.stats().shed, 0u);
  faults.clear();
  serve_while(loop, [&] {
    const TimePoint released = Clock::now();
    for (TestClient& client : waiting) EXPECT_TRUE(echoes(client));
    EXPECT_LE(Clock::now() - released, 200ms);
  });
  // With the descriptors the spare came back.
  faults.on(Call::accept4).nth(1).fail(EMFILE);
  TestClient shed(address);
  EXPECT_TRUE(run_until(loop, [&] { return echo->server.stats().shed == 1; }));
}

// --- no memory, a firewall -----------------------------------------------------------------------

using OutOfMemory = AcceptErrors;
INSTANTIATE_TEST_SUITE_P(Accept, OutOfMemory, ::testing::ValuesIn(cells({ENOBUFS, ENOMEM, EPERM})),
                         cell_name);

TEST_P(OutOfMemory, F36_TheListenerPausesAndNobodyIsLost) {
  TestClient established(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(established)); });
  faults.on(Call::accept4).always().fail(error);
  std::vector<TestClient> waiting;
  for (int i = 0; i < 10; ++i) waiting.emplace_back(address);
  EXPECT_TRUE(rests(loop, faults));
  EXPECT_LE(faults.failed(Call::accept4), 5u);  // one in 100 ms
  EXPECT_GE(faults.failed(Call::accept4), 3u);
  EXPECT_EQ(echo.server.stats().accept_back_offs, faults.failed(Call::accept4));
  EXPECT_EQ(echo.server.stats().shed, 0u);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(established)); });
  faults.clear();
  serve_while(loop, [&] {
    const TimePoint released = Clock::now();
    for (TestClient& client : waiting) EXPECT_TRUE(echoes(client));
    EXPECT_LE(Clock::now() - released, 200ms);
  });
}

// --- errors of one connection --------------------------------------------------------------------

using ErrorOfOne = AcceptErrors;
INSTANTIATE_TEST_SUITE_P(Accept, ErrorOfOne,
                         ::testing::ValuesIn(cells({ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT,
                                                    EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
                                                    ENETUNREACH, ETIMEDOUT, EINTR})),
                         cell_name);

TEST_P(ErrorOfOne, F37_AllOthersAreServedAndTheListenerGoesOn) {
  constexpr std::size_t kClients = 30;
  for (std::uint64_t nth = 1; nth < 2 * kClients; nth += 2) {
    faults.on(Call::accept4).nth(nth).fail(error);
  }
  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < kClients; ++i) clients.emplace_back(address);
  serve_while(loop, [&] {
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
  });
  const TcpServer::Stats stats = echo.server.stats();
  EXPECT_EQ(stats.accepted, kClients);
  EXPECT_EQ(faults.failed(Call::accept4), kClients);
  EXPECT_EQ(stats.accept_errors, error == EINTR ? 0 : kClients);  // EINTR: just once more
  EXPECT_EQ(stats.accept_back_offs, 0u);
  EXPECT_TRUE(served_next());
}

TEST_P(ErrorOfOne, F37_ManyInARowDoNotStopTheListenerOrHogTheLoop) {
  TestClient established(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(established)); });
  faults.on(Call::accept4).first(200).fail(error);
  TestClient client(address);
  established.send_all("ping");
  if (error != EINTR) {
    run_turn(loop);
    EXPECT_EQ(established.receive_exactly(4, 0s), "ping");
    EXPECT_LE(faults.failed(Call::accept4), 64u);
  }
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
}

// --- the listener itself -------------------------------------------------------------------------

using ListenerRefused = AcceptErrors;
INSTANTIATE_TEST_SUITE_P(Accept, ListenerRefused,
                         ::testing::ValuesIn(cells({ENOMEM, ENOSPC, EPERM})), cell_name);

TEST_P(ListenerRefused, F16_AListenerThatEpollRefusesIsTriedAgain) {
  const ExpectLog refused("watch 127.0.0.1:");
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).first(3).fail(error);
  TestClient waiting(address);
  EXPECT_TRUE(rests(loop, faults, 200ms));
  serve_while(loop, [&] { EXPECT_TRUE(echoes(waiting)); });
  EXPECT_TRUE(served_next());
  EXPECT_EQ(faults.failed(Call::epoll_ctl), 3u);
}

using ListenerDead = AcceptErrors;
INSTANTIATE_TEST_SUITE_P(Accept, ListenerDead,
                         ::testing::ValuesIn(cells({EINVAL, EBADF, ENOTSOCK, ENOSYS})), cell_name);

TEST_P(ListenerDead, F39_OneThatCanNeverAcceptStopsAndSaysSoOnce) {
  const ExpectLog stopped("stop listening on 127.0.0.1:");
  const SocketAddress other = echo.listen();
  TestClient established(other);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(established)); });
  faults.on(Call::accept4).nth(1).fail(error);
  TestClient unlucky(address);
  EXPECT_TRUE(run_until(loop, [&] { return stopped.count() > 0; }));
  EXPECT_TRUE(rests(loop, faults));
  EXPECT_EQ(stopped.count(), 1u);
  EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
  serve_while(loop, [&] {
    EXPECT_TRUE(echoes(established));
    TestClient client(other);  // the other listener goes on
    EXPECT_TRUE(echoes(client));
  });
}

// Linux keeps such a socket readable, and accept(2) says EAGAIN.
TEST(UnixListener, F39_OneThatAnotherProcessHasShutDownStopsAndTheLoopRests) {
  const ExpectLog log("stop listening on unix:@");
  LoopHarness harness;
  TcpServer server(harness.loop);
  ASSERT_TRUE(server.listen(abstract_address("shut-down")));
  harness.turns(1);
  auto shares = server.duplicate_listeners();
  ASSERT_TRUE(shares);
  ASSERT_EQ(::shutdown(shares->front().fd.get(), SHUT_RDWR), 0);
  shares->clear();
  EXPECT_TRUE(rests(harness.loop, harness.faults));
}

}  // namespace
}  // namespace weir::test
