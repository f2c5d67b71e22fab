// serve(): what it prints, how it ends, and with which code.
#include "weir/net/service/serve.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "support/serving_child.h"
#include "support/test_client.h"
#include "support/udp_harness.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/udp/udp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

int echo(const std::vector<std::string>& addresses, ServeOptions options = {}) {
  EventLoop loop;
  TcpServer server(loop);
  server.on_data([](TcpConnection& c, Buffer& in) { c.send(in); });
  return serve(loop, server, addresses, std::move(options));
}

// Connected and served, not only in the queue.
TestClient served(const SocketAddress& address) {
  TestClient client(address);
  EXPECT_TRUE(client.send_all("x"));
  EXPECT_EQ(client.receive_exactly(1), "x");
  return client;
}

TEST(Serve, SaysWhereItListensAndEndsOnASignal) {
  for (const int number : {SIGINT, SIGTERM}) {
    ServingChild child([] { return echo({"127.0.0.1:0", "[::1]:0"}); });
    const SocketAddress first = child.address();
    const SocketAddress second = child.address();
    EXPECT_TRUE(first.to_string().starts_with("127.0.0.1:"));
    EXPECT_TRUE(second.to_string().starts_with("[::1]:"));
    served(first);
    served(second);
    child.signal(number);
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(child.line(), "");
  }
}

TEST(Serve, ABadTextIsFoundBeforeTheFirstAddressIsBound) {
  FaultTable faults;
  const ScopedFaults use(faults);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(echo({"127.0.0.1:0", "nonsense"}), 2);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(said.starts_with("error: ")) << said;
  EXPECT_NE(said.find("nonsense"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(faults.count(Call::socket), 0u);
  EXPECT_EQ(faults.count(Call::bind), 0u);
}

TEST(Serve, AnAddressInUseIsSaidAndNothingElse) {
  EventLoop loop;
  TcpServer first(loop);
  const auto taken = first.listen("127.0.0.1:0");
  ASSERT_TRUE(taken);
  TcpServer second(loop);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(serve(loop, second, {"127.0.0.1:0", taken->to_string()}), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(said.starts_with("error: listen on " + taken->to_string())) << said;
}

TEST(Serve, ServesWhatListensAlready) {
  ServingChild child([] {
    EventLoop loop;
    TcpServer server(loop);
    server.on_data([](TcpConnection& c, Buffer& in) { c.send(in); });
    return serve_bound(loop, server, {server.listen("127.0.0.1:0").value()});
  });
  served(child.address());
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
}

// on_stop says a word to a client, which therefore comes before its end.
TEST(Serve, OnStopComesBeforeTheConnectionsClose) {
  ServingChild child([] {
    EventLoop loop;
    TcpServer server(loop);
    ConnectionRef client;
    server.on_data([&client](TcpConnection& c, Buffer& in) {
      client = c.ref();
      c.send(in);
    });
    return serve(loop, server, {"127.0.0.1:0"}, {.on_stop = [&client] { client.send("goodbye"); }});
  });
  TestClient client = served(child.address());
  child.signal(SIGTERM);
  EXPECT_EQ(client.receive_until_eof(), "goodbye");
  EXPECT_EQ(client.ended(), TestClient::End::eof);
  client.close();
  EXPECT_EQ(child.wait(), 0);
}

TEST(Serve, ADatagramServerHasTheSameOptions) {
  ServingChild child([] {
    EventLoop loop;
    UdpServer server(loop);
    server.on_datagrams([](UdpSocket& socket, std::span<const Datagram> batch) {
      for (const Datagram& in : batch) socket.reply(in, in.payload);
    });
    bool stopped = false;
    const int code = serve(loop, server, {"127.0.0.1:0"},
                           {.deadline = 1s, .on_stop = [&stopped] { stopped = true; }});
    return stopped ? code : 7;
  });
  const SocketAddress address = child.address();
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(address, "x"));
  EXPECT_EQ(peer.receive(), "x");
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
}

TEST(ServeDeathTest, DatagramSocketsAreNotHandedOver) {
  EventLoop loop;
  UdpServer server(loop);
  EXPECT_DEATH(serve(loop, server, {"127.0.0.1:0"}, {.hand_over = "/tmp/weir"}), "handed over");
  EXPECT_DEATH(serve(loop, server, {"127.0.0.1:0"}, {.inherit = true}), "inherited");
}

TEST(Serve, TheServerIsEndedAlsoWhenOnStopThrows) {
  ServingChild child([] {
    try {
      return echo({"127.0.0.1:0"}, {.on_stop = [] { throw std::runtime_error("on_stop"); }});
    } catch (const std::runtime_error&) {
      return 7;
    }
  });
  TestClient client = served(child.address());
  child.signal(SIGTERM);
  EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);  // in order, not by ~TcpServer
  client.close();
  EXPECT_EQ(child.wait(), 7);
}

TEST(Serve, WhoDoesNotLeaveIsResetAtTheDeadline) {
  ServingChild child([] { return echo({"127.0.0.1:0"}, {.deadline = 100ms}); });
  TestClient client = served(child.address());
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(4s), 0);  // linger_timeout is 5 s
  client.receive_until_eof();
  EXPECT_NE(client.ended(), TestClient::End::open);
}

TEST(Serve, ASecondSignalEndsItAtOnce) {
  for (const auto& [first, second] : {std::pair(SIGINT, SIGINT), std::pair(SIGINT, SIGTERM),
                                      std::pair(SIGTERM, SIGINT), std::pair(SIGTERM, SIGTERM)}) {
    int calls = 0;
    ServingChild child([&calls] {
      return echo({"127.0.0.1:0"}, {.deadline = 30s, .on_stop = [&calls] {
                                      EXPECT_EQ(++calls, 1);
                                      std::puts("heard");
                                      std::fflush(stdout);
                                    }});
    });
    const TestClient client = served(child.address());  // does not leave
    child.signal(first);
    EXPECT_EQ(child.line(), "heard");
    const TimePoint heard = Clock::now();
    EXPECT_TRUE(wait_until([&] { return Clock::now() - heard > 100ms; }));
    child.signal(second);
    EXPECT_EQ(child.wait(3s), 128 + second);
  }
}

// The loop has not even heard of the first one.
TEST(Serve, F64_ASecondSignalEndsALoopThatIsStuck) {
  for (const int number : {SIGINT, SIGTERM}) {
    ServingChild child([] {
      EventLoop loop;
      TcpServer server(loop);
      server.on_data([](TcpConnection&, Buffer&) {
        std::puts("stuck");
        std::fflush(stdout);
        for (;;) ::pause();
      });
      return serve(loop, server, {"127.0.0.1:0"});
    });
    TestClient client(child.address());
    ASSERT_TRUE(client.send_all("x"));
    EXPECT_EQ(child.line(), "stuck");
    std::optional<int> code;
    for (int i = 0; i < 50 && !code; ++i) {
      child.signal(number);
      code = child.wait(150ms);
    }
    EXPECT_EQ(code, 128 + number);
  }
}

// As from timeout(1), which sends its signal to the process and to the process's group: the loop
// has heard of neither when the second one comes.
TEST(Serve, ASignalThatComesTwiceAtOnceIsOneRequest) {
  ServingChild child([] {
    EventLoop loop;
    TcpServer server(loop);
    server.on_data([](TcpConnection& c, Buffer& in) {
      c.send(in);
      ::raise(SIGTERM);
      ::raise(SIGTERM);
    });
    return serve(loop, server, {"127.0.0.1:0"});
  });
  served(child.address()).close();
  EXPECT_EQ(child.wait(), 0);
}

// The second of the two comes when the loop has woken for the first.
TEST(Serve, ASignalOfTimeoutThatComesAgainWhileTheLoopStopsIsOneRequest) {
  std::string told;
  for (int i = 0; i < 20 && told != "again"; ++i) {
    ServingChild child([] {
      EventLoop loop;
      TcpServer server(loop);
      TimePoint asked;
      server.on_data([&asked](TcpConnection& c, Buffer& in) {
        c.send(in);
        asked = Clock::now();
        ::raise(SIGTERM);
      });
      return serve(loop, server, {"127.0.0.1:0"}, {.on_stop = [&asked] {
                     const bool late = Clock::now() - asked > 50ms;  // a busy machine
                     if (!late) ::raise(SIGTERM);
                     std::puts(late ? "late" : "again");
                     std::fflush(stdout);
                   }});
    });
    served(child.address()).close();
    told = child.line();
    ASSERT_EQ(child.wait(), 0);
  }
  EXPECT_EQ(told, "again");
}

// A child that was forked from a handler and has not called exec: the server goes on.
TEST(Serve, F17_ASignalForAChildIsNotTheServers) {
  ServingChild child([] {
    EventLoop loop;
    TcpServer server(loop);
    server.on_data([](TcpConnection& c, Buffer& in) {
      const pid_t grandchild = ::fork();
      if (grandchild == 0) {
        for (;;) ::pause();
      }
      ::kill(grandchild, SIGTERM);
      int status = 0;
      ::waitpid(grandchild, &status, 0);
      in.clear();
      c.send(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? "ended" : "other");
    });
    return serve(loop, server, {"127.0.0.1:0"});
  });
  TestClient client(child.address());
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_EQ(client.receive_exactly(5), "ended");
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_EQ(client.receive_exactly(5), "ended");
  client.close();
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
}

TEST(Serve, F21_AReaderOfItsOutputThatHasGoneDoesNotEndIt) {
  ServingChild child([] {
    EventLoop loop;
    TcpServer server(loop);
    server.on_data([](TcpConnection& c, Buffer& in) {
      std::array<int, 2> ends{-1, -1};
      EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
      ::close(ends[0]);
      EXPECT_EQ(::write(ends[1], "x", 1), -1);
      EXPECT_EQ(errno, EPIPE);
      ::close(ends[1]);
      c.send(in);
    });
    return serve(loop, server, {"127.0.0.1:0"});
  });
  served(child.address()).close();
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
}

// What leaves run() leaves serve(), too, and the signals are then what they were.
TEST(Serve, AnExceptionOfATaskComesOut) {
  EventLoop loop;
  TcpServer server(loop);
  loop.post([] { throw std::runtime_error("a bug"); });
  ::testing::internal::CaptureStdout();
  EXPECT_THROW(serve(loop, server, {"127.0.0.1:0"}), std::runtime_error);
  EXPECT_NE(::testing::internal::GetCapturedStdout(), "");
  sigset_t blocked;
  sigemptyset(&blocked);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, nullptr, &blocked), 0);
  EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
}

}  // namespace
}  // namespace weir::test
