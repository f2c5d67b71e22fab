#include "weir/net/tcp/internal/acceptor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/loop_harness.h"
#include "support/spin_oracle.h"
#include "support/temp_files.h"
#include "support/test_client.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using internal::Acceptor;

// An acceptor on a loop of the test, and what it took.
class AcceptorTest : public ::testing::Test, public LoopHarness {
 protected:
  ~AcceptorTest() override {
    acceptor.reset();
    run_turn(loop);
  }

  void start(Acceptor::Options options = {}, std::string_view at = "127.0.0.1:0") {
    auto opened = ListeningSocket::open(SocketAddress::parse(at).value(), {});
    ASSERT_TRUE(opened.has_value()) << opened.error().message();
    socket = std::make_shared<ListeningSocket>(std::move(*opened));
    address = socket->address();
    acceptor = std::make_shared<Acceptor>(loop, socket, options, [this](Fd fd) {
      taken.push_back(std::move(fd));
      if (on_taken) on_taken();
    });
    socket_fd = socket->fd();
    socket.reset();
    run_turn(loop);  // registers it
  }
  // Clients that wait in the queue: the loop does not turn meanwhile.
  void queue(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) clients.emplace_back(address);
  }
  bool takes(std::size_t n, Duration deadline = kDeadline) {
    return until([&] { return taken.size() >= n; }, deadline);
  }

  std::shared_ptr<ListeningSocket> socket;
  SocketAddress address;
  int socket_fd = -1;
  std::vector<Fd> taken;
  std::function<void()> on_taken;
  std::vector<TestClient> clients;
  std::shared_ptr<Acceptor> acceptor;
};

// --- how many at a time --------------------------------------------------------------------------

TEST_F(AcceptorTest, OneCallAWakeUpOnAQuietListener) {
  start();
  for (std::size_t i = 1; i <= 20; ++i) {
    queue(1);
    ASSERT_TRUE(takes(i));
    run_turn(loop);
  }
  EXPECT_EQ(faults.count(Call::accept4), 20u);
}

TEST_F(AcceptorTest, F41_TheBudgetGrowsWithTheQueueUpToItsBound) {
  start();
  queue(300);
  std::vector<std::size_t> per_turn;
  for (std::size_t before = 0; before < 300; before = taken.size()) {
    run_turn(loop);
    ASSERT_GT(taken.size(), before) << "a turn with a full queue took nobody";
    per_turn.push_back(taken.size() - before);
  }
  EXPECT_EQ(per_turn, (std::vector<std::size_t>{1, 2, 4, 8, 16, 32, 64, 64, 64, 45}));
  EXPECT_EQ(faults.count(Call::accept4), 301u);  // the last one says EAGAIN
}

TEST_F(AcceptorTest, TheBudgetShrinksWhenTheQueueRunsDry) {
  start();
  queue(100);
  ASSERT_TRUE(takes(100));
  for (std::size_t i = 101; i <= 103; ++i) {
    run_turn(loop);
    queue(1);
    ASSERT_TRUE(takes(i));
  }
  run_turn(loop);
  const auto calls = faults.count(Call::accept4);
  queue(1);
  ASSERT_TRUE(takes(104));
  EXPECT_EQ(faults.count(Call::accept4) - calls, 1u);
}

TEST_F(AcceptorTest, F11_EdgeTriggeredDrainsTheQueueInBoundedTurns) {
  start({.trigger = Trigger::edge});
  queue(300);
  std::vector<std::size_t> per_turn;
  for (std::size_t before = 0; before < 300; before = taken.size()) {
    run_turn(loop);
    ASSERT_GT(taken.size(), before) << "the edge was lost";
    per_turn.push_back(taken.size() - before);
  }
  EXPECT_EQ(per_turn, (std::vector<std::size_t>{64, 64, 64, 64, 44}));
  EXPECT_TRUE(rests(loop, faults));
  queue(1);  // a new edge
  EXPECT_TRUE(takes(301));
}

TEST_F(AcceptorTest, F11_AnExactlySpentEdgeTriggeredBudgetLosesNoEdge) {
  start({.trigger = Trigger::edge});
  for (std::size_t round = 1; round <= 4; ++round) {
    queue(Acceptor::kMaxAcceptsPerTurn);
    ASSERT_TRUE(takes(round * Acceptor::kMaxAcceptsPerTurn));
    queue(1);  // before the drained queue was seen to be empty, or just after
    ASSERT_TRUE(takes(round * Acceptor::kMaxAcceptsPerTurn + 1));
    taken.pop_back();
  }
}

// --- its end -------------------------------------------------------------------------------------

TEST_F(AcceptorTest, F42_StopTakesWhatIsQueuedFirst) {
  start();
  queue(150);
  acceptor->stop();
  EXPECT_EQ(taken.size(), 150u);
  EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
  for (TestClient& client : clients) {  // all of them reached us, none was reset
    EXPECT_EQ(client.receive_for(0ms), "");
    EXPECT_EQ(client.ended(), TestClient::End::open);
  }
}

TEST_F(AcceptorTest, F42_RefuseNewKeepsOutWhoHasNotBegun) {
  for (const char* text : {"127.0.0.1:0", "[::1]:0"}) {
    taken.clear();
    clients.clear();
    start({}, text);
    queue(5);
    acceptor->refuse_new();
    const int late = ::socket(address.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    EXPECT_EQ(::connect(late, address.data(), address.size()), -1);
    EXPECT_EQ(errno, EINPROGRESS);
    EXPECT_TRUE(takes(5)) << text;
    clients[0].send_all("bytes still come through");
    char byte = 0;
    EXPECT_TRUE(run_until(loop, [&] { return ::recv(taken[0].get(), &byte, 1, 0) == 1; }));
    acceptor->stop();
    EXPECT_EQ(taken.size(), 5u) << text;
    pollfd item{.fd = late, .events = POLLOUT, .revents = 0};
    EXPECT_EQ(::poll(&item, 1, 0), 0) << "not answered at all";
    ::close(late);
  }
}

TEST_F(AcceptorTest, F42_StopRefusesNewConnectionsToAUnixSocketFirst) {
  start({}, abstract_address("acceptor"));
  queue(5);
  int refused = 0;
  on_taken = [&] {
    if (TestClient().try_connect(address) == ECONNREFUSED) ++refused;
  };
  acceptor->stop();
  EXPECT_EQ(taken.size(), 5u);
  EXPECT_EQ(refused, 5);
}

TEST_F(AcceptorTest, F42_StopServesWhoConnectsWhileItTakes) {
  start();
  queue(3);
  int more = 20;
  on_taken = [&] {
    if (more-- > 0) queue(1);
  };
  acceptor->stop();
  EXPECT_EQ(taken.size(), 23u);
}

TEST_F(AcceptorTest, F42_StopGoesOnAfterTheErrorOfOneConnection) {
  start();
  queue(10);
  faults.on(Call::accept4).nth(4).fail(ECONNABORTED);
  acceptor->stop();
  EXPECT_EQ(taken.size(), 10u);
}

TEST_F(AcceptorTest, CloseLeavesWhatIsQueued) {
  start();
  queue(5);
  acceptor->close();
  run_turn(loop);
  EXPECT_TRUE(taken.empty());
  for (TestClient& client : clients) EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

TEST_F(AcceptorTest, F06_ClosedInsideItsOwnSink) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    for (const bool stop : {false, true}) {
      taken.clear();
      clients.clear();
      start({.trigger = trigger});
      queue(10);
      on_taken = [&] {
        if (taken.size() == 2) stop ? acceptor->stop() : acceptor->close();
      };
      run_for(loop, 20ms);
      EXPECT_EQ(taken.size(), stop ? 10u : 2u);
      on_taken = nullptr;
    }
  }
}

TEST_F(AcceptorTest, F06_DestroyedInsideItsOwnSink) {
  start();
  queue(10);
  std::weak_ptr<Acceptor> watch = acceptor;
  on_taken = [&] {
    if (!acceptor) return;
    acceptor->close();
    internal::core_of(loop).keep_until_reaped(std::exchange(acceptor, nullptr));
  };
  run_turn(loop);
  EXPECT_EQ(taken.size(), 1u);
  EXPECT_TRUE(watch.expired());
}

TEST_F(AcceptorTest, F06_DestroyedWhileItBacksOff) {
  ExpectLog warned("accept on");
  start();
  queue(1);
  faults.on(Call::accept4).always().fail(ENOBUFS);
  ASSERT_TRUE(run_until(loop, [&] { return acceptor->counters().back_offs.value() == 1; }));
  acceptor.reset();
  run_for(loop, 2 * Acceptor::kBackOff);  // its timer went with it
  EXPECT_EQ(faults.count(Call::accept4), 1u);
}

TEST_F(AcceptorTest, F39_AShutListenerIsLeftAloneAndSaidOnce) {
  for (const Acceptor::Options options :
       {Acceptor::Options{}, Acceptor::Options{.trigger = Trigger::edge},
        Acceptor::Options{.exclusive = true}}) {
    ExpectLog said("stop listening on 127.0.0.1:");
    start(options);
    run_turn(loop);
    on_other_thread([&] { ::shutdown(socket_fd, SHUT_RDWR); });
    EXPECT_TRUE(run_until(loop, [&] { return said.count() > 0; }));
    EXPECT_TRUE(rests(loop, faults));
    EXPECT_EQ(said.count(), 1u);
    EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
    acceptor.reset();
  }
}

// --- leaving the socket to another process -------------------------------------------------------

TEST_F(AcceptorTest, LeavingLeavesTheQueueToWhoElseListens) {
  start();
  const Fd other(::dup(socket_fd));
  queue(3);
  acceptor->leave();
  run_turn(loop);
  EXPECT_TRUE(taken.empty());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(internal::sys::accept(other.get()));
}

TEST_F(AcceptorTest, WhatWokeThisLoopAloneIsTakenBeforeItLeaves) {
  start({.exclusive = true});
  const Fd other(::dup(socket_fd));
  queue(3);  // with another exclusive waiter the kernel might have woken this one only
  acceptor->leave();
  EXPECT_EQ(taken.size(), 3u);
  queue(1);
  run_turn(loop);
  EXPECT_EQ(taken.size(), 3u) << "what comes later is the other's";
  EXPECT_TRUE(internal::sys::accept(other.get()));
}

}  // namespace
}  // namespace weir::test
