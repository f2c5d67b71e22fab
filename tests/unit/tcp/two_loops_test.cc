// Two loops that one thread drives by turn() are as far apart as two threads: what crosses from one
// to the other goes through the mailbox, and each serves its own.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/both_ends.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class TwoLoops : public ::testing::Test {
 protected:
  // Turns in turn. Each may sleep a little: the other cannot be served meanwhile.
  [[nodiscard]] bool until(const std::function<bool()>& done) {
    const TimePoint end = Clock::now() + kDeadline;
    while (!done()) {
      if (Clock::now() >= end) return false;
      a.turn(Duration::zero());
      b.turn(done() ? Duration::zero() : Duration(100us));
    }
    return true;
  }

  EventLoop a;
  EventLoop b;
};

TEST_F(TwoLoops, TalkToEachOther) {
  BothEnds ends(a, b);
  const std::string sent(1024 * 1024, 'x');
  ends.at_server.on.data = [&](TcpConnection& c, Buffer& in) {
    EXPECT_TRUE(a.in_loop_thread());
    c.send(in);
  };
  ends.at_client.on.open = [&](TcpConnection& c) { c.send(sent); };
  ends.at_client.on.data = [&](TcpConnection& c, Buffer& in) {
    EXPECT_TRUE(b.in_loop_thread());
    ends.at_client.received += in.take();
    if (ends.at_client.received.size() == sent.size()) c.close();
  };
  EXPECT_TRUE(until(
      [&] { return ends.at_client.calls.close == 1 && ends.server.connection_count() == 0; }));
  EXPECT_EQ(ends.at_client.received, sent);
}

TEST_F(TwoLoops, ARefReachesTheOtherLoopByItsMailbox) {
  BothEnds pair(a, b);
  ASSERT_TRUE(until([&] { return pair.open(); }));
  bool on_b = false;
  b.post([&] {
    on_b = true;
    EXPECT_EQ(pair.at_server.connection(), nullptr) << "it is the other loop's";
    EXPECT_NE(pair.at_client.connection(), nullptr);
    EXPECT_TRUE(pair.at_server.ref().send("from b")) << "handed over";
    EXPECT_TRUE(pair.at_server.ref().post([&](TcpConnection& c) {
      EXPECT_TRUE(a.in_loop_thread());
      EXPECT_FALSE(b.in_loop_thread());
      c.send(", on a");
    }));
    EXPECT_EQ(a.backlog(), 2u);
  });
  EXPECT_TRUE(until([&] { return pair.at_client.received == "from b, on a"; }));
  EXPECT_TRUE(on_b);
  a.post([&] { EXPECT_TRUE(pair.at_client.ref().close()); });
  EXPECT_TRUE(until([&] { return pair.server.connection_count() == 0; }));
}

TEST_F(TwoLoops, PostsGoBothWays) {
  int left = 1000;
  std::function<void(EventLoop&, EventLoop&)> bounce = [&](EventLoop& here, EventLoop& there) {
    EXPECT_TRUE(here.in_loop_thread());
    EXPECT_FALSE(there.in_loop_thread());
    if (--left > 0) there.dispatch([&] { bounce(there, here); });
  };
  a.post([&] { bounce(a, b); });
  EXPECT_TRUE(until([&] { return left == 0; }));
}

TEST_F(TwoLoops, ABroadcastReachesTheMembersOfBoth) {
  BothEnds one(a, b);
  BothEnds other(b, a);
  ASSERT_TRUE(until([&] { return one.open() && other.open(); }));
  Broadcast room;
  const auto join = [&room](TcpConnection& c) { room.join(c); };
  EXPECT_TRUE(one.at_server.ref().post(join));
  EXPECT_TRUE(other.at_server.ref().post(join));
  ASSERT_TRUE(until([&] { return room.stats().members == 2; }));
  a.post([&] { room.send(SharedBytes::copy("from a ")); });
  b.post([&] { room.send(SharedBytes::copy("from b"), other.at_server.ref()); });
  EXPECT_TRUE(until([&] {
    return one.at_client.received.size() == 13 && other.at_client.received == "from a ";
  }));
  EXPECT_EQ(room.stats().delivered, 3u);
}

TEST_F(TwoLoops, DeadlinesAndTimersAreEachLoopsOwn) {
  const BothEnds ends(a, b, {.idle_timeout = 50ms});
  int on_a = 0;
  int on_b = 0;
  a.run_every(5ms, [&] { ++on_a; });
  b.run_every(5ms, [&] { ++on_b; });
  EXPECT_TRUE(until([&] { return ends.at_server.reason && on_a > 3 && on_b > 3; }));
  EXPECT_EQ(ends.at_server.reason->kind, CloseReason::Kind::idle_timeout);
}

// Two servers on one address, as the loops of a pool have it: the kernel spreads the clients, and
// the end of each is asked for from the other's loop.
TEST_F(TwoLoops, ServersShareAnAddress) {
  const TcpServer::Options options{.accept = AcceptMode::reuse_port};
  TcpServer on_a(a, options);
  TcpServer on_b(b, options);
  int astray = 0;
  const auto echo = [&astray](EventLoop& loop) {
    return [&astray, &loop](TcpConnection& c, Buffer& in) {
      if (!loop.in_loop_thread() || &c.loop() != &loop) ++astray;
      c.send(in);
    };
  };
  on_a.on_data(echo(a));
  on_b.on_data(echo(b));
  const auto address = on_a.listen("127.0.0.1:0");
  ASSERT_TRUE(address && on_b.listen(*address));
  std::vector<std::unique_ptr<TcpClient>> clients;
  std::size_t answered = 0;
  for (int i = 0; i < 32; ++i) {
    clients.push_back(std::make_unique<TcpClient>(i % 2 == 0 ? a : b));
    clients.back()->on_open([](TcpConnection& c) { c.send("x"); });
    clients.back()->on_data([&](TcpConnection&, Buffer& in) { answered += in.take().size(); });
    ASSERT_TRUE(clients.back()->connect(*address));
  }
  EXPECT_TRUE(until([&] { return answered == clients.size(); }));
  EXPECT_EQ(on_a.stats().accepted + on_b.stats().accepted, clients.size());
  EXPECT_EQ(astray, 0);
  int ended = 0;
  a.post([&] { on_b.shutdown(1s, [&] { ended += b.in_loop_thread() ? 1 : 0; }); });
  b.post([&] { on_a.shutdown(1s, [&] { ended += a.in_loop_thread() ? 1 : 0; }); });
  EXPECT_TRUE(until([&] { return ended == 2; }));
}

// A server with threads of its own beside the two.
TEST_F(TwoLoops, AServerWithThreadsIsListenedOnInATurn) {
  TcpServer server(a, {.threads = 2});
  server.on_data([](TcpConnection& c, Buffer& in) { c.send(in); });
  std::optional<SocketAddress> address;
  a.post([&] { address = *server.listen("127.0.0.1:0"); });
  ASSERT_TRUE(until([&] { return address.has_value(); }));
  TcpClient client(b);
  std::string received;
  client.on_open([](TcpConnection& c) { c.send("x"); });
  client.on_data([&](TcpConnection&, Buffer& in) { received += in.take(); });
  ASSERT_TRUE(client.connect(*address));
  EXPECT_TRUE(until([&] { return received == "x"; }));
}

TEST_F(TwoLoops, ACallIntoTheOtherLoopsConnectionIsCaught) {
  BothEnds pair(a, b);
  ASSERT_TRUE(until([&] { return pair.open(); }));
  TcpConnection* const of_a = pair.at_server.connection();
  ASSERT_NE(of_a, nullptr) << "between the turns the thread belongs to both";
  EXPECT_DEATH(
      {
        b.post([&] { of_a->send("x"); });
        b.turn(Duration::zero());
      },
      "TcpConnection::send called from inside a turn of another loop");
}

}  // namespace
}  // namespace weir::test
