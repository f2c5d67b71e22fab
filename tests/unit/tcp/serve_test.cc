// serve(): what it prints, how it ends, and with which code.
#include "weir/net/tcp/serve.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "support/test_client.h"
#include "weir/base/fd.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/tcp/connection_ref.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// serve() in a process of its own, whose signals are nobody else's. Made while the test has no
// other threads.
class Child {
 public:
  // The child ends with what `body` returns.
  explicit Child(const std::function<int()>& body) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) ADD_FAILURE() << "pipe2";
    output_.reset(ends[0]);
    Fd theirs(ends[1]);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::alarm(50);
      ::dup2(theirs.get(), STDOUT_FILENO);
      const int code = body();
      std::fflush(nullptr);
      ::_exit(::testing::Test::HasFailure() ? 99 : code);
    }
    EXPECT_GT(pid_, 0) << "fork";
  }
  ~Child() {
    if (status_) return;
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void signal(int number) const { ::kill(pid_, number); }

  // The next line of its standard output; nothing at its end or after the deadline.
  std::string line() {
    std::string text;
    for (char c = 0; c != '\n';) {
      pollfd item{.fd = output_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&item, 1, 5000) != 1 || ::read(output_.get(), &c, 1) != 1) return text;
      if (c != '\n') text += c;
    }
    return text;
  }
  // The address of its next line.
  SocketAddress address() {
    const std::string text = line();
    const std::string begin = "listening on ";
    EXPECT_TRUE(text.starts_with(begin)) << text;
    const auto parsed = SocketAddress::parse(text.substr(std::min(begin.size(), text.size())));
    EXPECT_TRUE(parsed);
    return parsed.value_or(SocketAddress());
  }

  // Its exit code, or -n when signal n ended it; nothing when it runs on.
  std::optional<int> wait(Duration deadline = 10s) {
    int status = 0;
    if (!wait_until([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, deadline)) return {};
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return status_;
  }

 private:
  pid_t pid_ = -1;
  Fd output_;
  std::optional<int> status_;
};

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
    Child child([] { return echo({"127.0.0.1:0", "[::1]:0"}); });
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
  Child child([] {
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
  Child child([] {
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

TEST(Serve, WhoDoesNotLeaveIsResetAtTheDeadline) {
  Child child([] { return echo({"127.0.0.1:0"}, {.deadline = 100ms}); });
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
    Child child([&calls] {
      return echo({"127.0.0.1:0"}, {.deadline = 30s, .on_stop = [&calls] {
                                      EXPECT_EQ(++calls, 1);
                                      std::puts("heard");
                                      std::fflush(stdout);
                                    }});
    });
    const TestClient client = served(child.address());  // does not leave
    child.signal(first);
    EXPECT_EQ(child.line(), "heard");
    child.signal(second);
    EXPECT_EQ(child.wait(3s), 128 + second);
  }
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
