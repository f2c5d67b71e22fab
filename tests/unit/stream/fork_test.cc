// F17: a child of fork() that destroys what its parent made, while the parent goes on.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/in_child.h"
#include "support/loops.h"
#include "support/serving_child.h"
#include "support/temp_files.h"
#include "support/test_client.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/service/serve.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// The objects on a loop, in the order in which they are destroyed.
struct House {
  std::unique_ptr<EventLoop> loop = std::make_unique<EventLoop>();
  std::unique_ptr<EchoServer> echo;
  std::unique_ptr<SignalSet> signals;

  explicit House(const TcpServer::Options& options = {}) {
    echo = std::make_unique<EchoServer>(*loop, options);
    signals = std::make_unique<SignalSet>(*loop, std::initializer_list<int>{SIGUSR1}, [](int) {});
  }
  void destroy() {
    signals.reset();
    echo.reset();
    loop.reset();
  }
};

TEST(Fork, F17_AChildThatDestroysEverythingCostsTheParentNothing) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    House house({.trigger = trigger});
    std::vector<int> served;
    house.echo->server.on_open([&](TcpConnection& c) { served.push_back(c.fd()); });
    const SocketAddress address = house.echo->listen();
    const SocketAddress abstract = house.echo->listen(abstract_address("fork"));
    std::vector<TestClient> clients(20);
    serve_while(*house.loop, [&] {
      for (TestClient& client : clients) {
        client.connect(address);
        EXPECT_TRUE(echoes(client));
      }
    });
    const std::uint64_t commits = house.loop->stats().interest_commits;
    EXPECT_TRUE(in_child([&] {
      EXPECT_TRUE(house.loop->forked());
      house.destroy();
    }));
    EXPECT_FALSE(house.loop->forked());
    for (const int fd : served) {  // shared with the child, like all options
      linger at_close{};
      socklen_t length = sizeof(at_close);
      EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_LINGER, &at_close, &length), 0);
      EXPECT_EQ(at_close.l_onoff, 0);
    }
    serve_while(*house.loop, [&] {
      for (TestClient& client : clients) EXPECT_TRUE(echoes(client, "after the fork"));
      for (const SocketAddress& where : {address, abstract}) {
        TestClient late(where);
        EXPECT_TRUE(echoes(late)) << where.to_string();
        late.shutdown_write();
        EXPECT_EQ(late.wait_for_end(), TestClient::End::eof);
      }
    });
    EXPECT_EQ(house.echo->closed_for(CloseReason::Kind::reset), 0u);
    EXPECT_EQ(house.loop->stats().unknown_events, 0u);
    EXPECT_GE(house.loop->stats().interest_commits, commits);

    bool done = false;
    house.echo->server.shutdown(5s, [&] { done = true; });
    serve_while(*house.loop, [&] {
      for (TestClient& client : clients) {
        EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
        client.close();
      }
    });
    EXPECT_TRUE(run_until(*house.loop, [&] { return done; }));
  }
}

TEST(Fork, F17_AChildThatOnlyEndsOrDestroysAServerWithThreads) {
  for (const bool destroys : {false, true}) {
    House house({.threads = 2, .accept = AcceptMode::exclusive});
    const SocketAddress address = house.echo->listen();
    TestClient client;
    serve_while(*house.loop, [&] {
      client.connect(address);
      EXPECT_TRUE(echoes(client));
    });
    std::fflush(nullptr);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(20);
      if (destroys) house.destroy();
      ::_exit(0);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "it does not wait for threads that it has not";
    serve_while(*house.loop, [&] {
      EXPECT_TRUE(echoes(client, "after the fork"));
      TestClient late(address);
      EXPECT_TRUE(echoes(late));
    });
  }
}

TEST(Fork, F17_AChildLeavesThePathOfAServerAlone) {
  const std::string path = "/tmp/weir_fork_" + std::to_string(::getpid());
  House house;
  const SocketAddress address = house.echo->listen("unix:" + path);
  EXPECT_TRUE(in_child([&] { house.destroy(); }));
  EXPECT_TRUE(std::filesystem::exists(path));
  serve_while(*house.loop, [&] {
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
  });
  house.destroy();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Fork, F17_AChildThatRunsTheLoopIsStopped) {
  EventLoop loop;
  EXPECT_DEATH(
      {
        if (::fork() == 0) {
          loop.run();
        } else {
          int status = 0;
          ::wait(&status);
          ::_exit(WIFSIGNALED(status) ? 1 : 0);  // the message came from the child
        }
      },
      "EventLoop::run in a child of fork");
}

// --- daemon(3): listen, tell the shell how it went, go into the background, serve
// -------------------

TEST(Fork, F17_ADaemonListensBeforeAndServesAfterwards) {
  const std::string path = ::testing::TempDir() + "weir_daemon_" + std::to_string(::getpid());
  for (const std::size_t threads : {0u, 2u}) {
    ServingChild child([&path, threads] {
      std::vector<ListeningSocket> sockets;
      for (const std::string& text : {std::string("127.0.0.1:0"), "unix:" + path}) {
        auto socket = ListeningSocket::open(SocketAddress::parse(text).value(), {});
        if (!socket) return fail(socket.error());
        sockets.push_back(std::move(*socket));
      }
      if (::daemon(1, 1) != 0) return 1;
      ::alarm(50);  // the child's does not come along
      sockets[1].own_file(sockets[1].file(), std::make_shared<std::atomic<bool>>(true));
      EventLoop loop;
      EchoServer echo(loop, {.threads = threads});
      const auto bound = echo.server.listen(std::move(sockets));
      std::printf("%d\n", ::getpid());
      return serve_bound(loop, echo.server, bound.value());
    });
    const pid_t daemon = std::stoi(child.line());
    const SocketAddress address = child.address();
    const SocketAddress unix_address = child.address();
    EXPECT_EQ(child.wait(), 0) << "the process that the shell waits for";
    for (const SocketAddress& where : {address, unix_address}) {
      TestClient client(where);
      EXPECT_TRUE(echoes(client)) << where.to_string();
    }
    ASSERT_EQ(::kill(daemon, SIGTERM), 0);
    EXPECT_EQ(child.line(), "") << "it is nobody's child, but holds the pipe open until it ends";
    EXPECT_FALSE(std::filesystem::exists(path)) << "the file of the Unix address was left behind";
  }
}

// The epoll set of a loop is shared by both, and the threads stay with the parent.
TEST(Fork, F17_ALoopMadeBeforeDaemonDoesNotRunAfterwards) {
  EventLoop loop;
  EXPECT_TRUE(in_child([&] {
    EXPECT_TRUE(loop.forked());
    EXPECT_DEATH(loop.run(), "EventLoop::run in a child of fork");
  }));
}

}  // namespace
}  // namespace weir::test
