// Connections that were not accepted: TcpServer::adopt().
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/handlers.h"
#include "support/in_child.h"
#include "support/loops.h"
#include "weir/net/socket/socket.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;

std::string receive(const Fd& fd, EventLoop& loop, std::size_t size) {
  std::string got;
  EXPECT_TRUE(run_until(loop, [&] {
    got += take(fd);
    return got.size() >= size;
  }));
  return got;
}

// The peer has ended; does not wait for it.
bool at_end(const Fd& fd) {
  char byte = 0;
  return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(Adopt, ASocketPairIsServedAndCountedWithoutListen) {
  EventLoop loop;
  EchoServer echo(loop);
  SocketPair pair;
  ASSERT_TRUE(echo.server.adopt(std::move(pair.ours)).has_value());
  EXPECT_EQ(echo.opened, 0u) << "a handler was called inside the call";
  EXPECT_EQ(echo.server.connection_count(), 1u);
  put(pair.theirs, "hello");
  EXPECT_EQ(receive(pair.theirs, loop, 5), "hello");
  EXPECT_EQ(echo.server.stats().accepted, 1u);
  EXPECT_EQ(echo.opened, 1u);

  pair.theirs.reset();
  ASSERT_TRUE(run_until(loop, [&] { return echo.closed == 1; }));
  EXPECT_EQ(echo.closed_for(Kind::peer_eof), 1u);
  EXPECT_EQ(echo.server.connection_count(), 0u);
}

TEST(Adopt, TcpConnectionsGetTheOptions) {
  EventLoop loop;
  EchoServer echo(loop, {.keep_alive = true});
  int nodelay = -1;
  int keep_alive = -1;
  echo.server.on_open([&](TcpConnection& connection) {
    socklen_t size = sizeof(int);
    ::getsockopt(connection.fd(), IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
    ::getsockopt(connection.fd(), SOL_SOCKET, SO_KEEPALIVE, &keep_alive, &size);
    EXPECT_NE(::fcntl(connection.fd(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(connection.fd(), F_GETFD) & FD_CLOEXEC, 0);
  });
  auto listener =
      ListeningSocket::open(SocketAddress::parse("127.0.0.1:0").value(), {.nodelay = false})
          .value();
  TestClient client(listener.address());
  Fd accepted(::accept(listener.fd(), nullptr, nullptr));  // blocking, inherited by exec
  ASSERT_TRUE(echo.server.adopt(std::move(accepted)).has_value());
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client)); });
  EXPECT_EQ(nodelay, 1);
  EXPECT_EQ(keep_alive, 1);
}

TEST(Adopt, ConnectionsAreSpreadOverTheLoops) {
  EventLoop loop;
  TcpServer server(loop, {.threads = 3});
  std::mutex mutex;
  std::multiset<EventLoop*> loops;  // mutex
  server.on_open([&](TcpConnection& connection) {
    const std::lock_guard lock(mutex);
    loops.insert(&connection.loop());
  });
  std::vector<SocketPair> pairs(9);
  for (SocketPair& pair : pairs) ASSERT_TRUE(server.adopt(std::move(pair.ours)).has_value());
  ASSERT_TRUE(run_until(loop, [&] {
    const std::lock_guard lock(mutex);
    return loops.size() == 9;
  }));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(loops.count(&server.loop(i)), 3u);
}

TEST(Adopt, TheBoundsHold) {
  ExpectLog said("1 connections are open, the most allowed");
  EventLoop loop;
  EchoServer echo(loop, {.max_connections = 1});
  SocketPair first;
  SocketPair second;
  ASSERT_TRUE(echo.server.adopt(std::move(first.ours)).has_value());
  const auto refused = echo.server.adopt(std::move(second.ours));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(), "adopt a connection: the limit of connections is reached");
  EXPECT_EQ(echo.server.stats().refused, 1u);
  EXPECT_EQ(echo.server.stats().accepted, 2u);
  EXPECT_TRUE(at_end(second.theirs)) << "the descriptor was not closed";
}

TEST(Adopt, WhatIsNoConnectionIsAnErrorWithASentence) {
  EventLoop loop;
  EchoServer echo(loop);
  const auto refusal = [&](Fd fd) {
    const auto refused = echo.server.adopt(std::move(fd));
    return refused ? std::string("taken") : refused.error().message();
  };
  EXPECT_THAT(refusal(Fd()), ::testing::HasSubstr("take over descriptor -1"));
  EXPECT_THAT(refusal(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC))),
              ::testing::HasSubstr("SO_TYPE: Socket operation on non-socket"));
  EXPECT_THAT(refusal(Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))),
              ::testing::HasSubstr("it is not a stream socket"));
  EXPECT_THAT(refusal(Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))),
              ::testing::HasSubstr("getpeername: Transport endpoint is not connected"));
  EXPECT_EQ(echo.server.loop_count(), 0u) << "a refusal has started the server";
  EXPECT_EQ(echo.server.connection_count(), 0u);
}

TEST(Adopt, AfterShutdownItIsAnError) {
  EventLoop loop;
  EchoServer echo(loop);
  bool done = false;
  echo.server.shutdown(std::chrono::seconds(1), [&] { done = true; });
  SocketPair pair;
  EXPECT_FALSE(echo.server.adopt(std::move(pair.ours)).has_value());
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
}

// The adoption is a task; the shutdown that follows it at once comes behind it.
TEST(Adopt, AShutdownAtOnceEndsWhatWasAdopted) {
  for (const std::size_t threads : {0u, 2u}) {
    EventLoop loop;
    EchoServer echo(loop, {.threads = threads});
    SocketPair pair;
    ASSERT_TRUE(echo.server.adopt(std::move(pair.ours)).has_value());
    bool done = false;
    echo.server.shutdown(std::chrono::seconds(5), [&] {
      done = true;
      EXPECT_EQ(echo.opened, 1u);
      EXPECT_EQ(echo.closed, 1u);
    });
    EXPECT_TRUE(run_until(loop, [&] {
      if (pair.theirs && at_end(pair.theirs)) pair.theirs.reset();
      return done;
    }));
    EXPECT_EQ(echo.closed_for(Kind::server_stopped), 1u);
  }
}

TEST(Adopt, AServerDestroyedAtOnceClosesIt) {
  EventLoop loop;
  SocketPair pair;
  {
    EchoServer echo(loop);
    ASSERT_TRUE(echo.server.adopt(std::move(pair.ours)).has_value());
  }
  EXPECT_TRUE(run_until(loop, [&] { return at_end(pair.theirs); }));
}

// inetd(8), Accept=yes of systemd with StandardInput=socket.
TEST(Adopt, F72_TheStandardInputThatInetdGives) {
  ASSERT_TRUE(in_child([] {
    SocketPair pair;
    ASSERT_EQ(::dup2(pair.ours.get(), STDIN_FILENO), STDIN_FILENO);
    pair.ours.reset();
    EventLoop loop;
    EchoServer echo(loop);
    int number = -1;
    echo.server.on_open([&](TcpConnection& connection) { number = connection.fd(); });
    ASSERT_TRUE(echo.server.adopt(Fd(STDIN_FILENO)).has_value());
    put(pair.theirs, "hello");
    EXPECT_EQ(receive(pair.theirs, loop, 5), "hello");
    EXPECT_GT(number, STDERR_FILENO);
    pair.theirs.reset();
    EXPECT_TRUE(run_until(loop, [&] { return echo.closed == 1; }));
  }));
}

}  // namespace
}  // namespace weir::test
