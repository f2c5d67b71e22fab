// Limits of the process and of the kernel: descriptors, somaxconn.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/in_child.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "support/spin_oracle.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// --- descriptors ---------------------------------------------------------------------------------

// Leaves the process `free` descriptors until release().
class FewDescriptors {
 public:
  explicit FewDescriptors(std::size_t free) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    const auto used = open_descriptors();
    int limit = 0;
    for (std::size_t left = free; left > 0; ++limit) {
      if (!used.contains(limit)) --left;
    }
    few.rlim_cur = static_cast<rlim_t>(limit);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewDescriptors() { release(); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  void release() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

void descriptors_run_out(const TcpServer::Options& options) {
  constexpr std::size_t kFree = 6;
  constexpr std::size_t kCrowd = 300;
  FaultTable faults;
  const ScopedFaults use(faults);
  const ExpectLog said("accept on 127.0.0.1:");
  EventLoop loop;
  EchoServer echo(loop, options);
  const SocketAddress address = echo.listen();
  std::vector<TestClient> established;
  for (int i = 0; i < 10; ++i) established.emplace_back(address);
  serve_while(loop, [&] {
    for (TestClient& client : established) EXPECT_TRUE(echoes(client));
  });
  // Sockets made now need no descriptor later.
  std::vector<int> crowd;
  for (std::size_t i = 0; i < kCrowd; ++i) {
    crowd.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  const int last = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  FewDescriptors few(kFree);
  const TimePoint start = Clock::now();
  for (const int fd : crowd) ASSERT_EQ(::connect(fd, address.data(), address.size()), 0);

  // Those who were served before do not notice; of the others some are served, most are closed.
  const auto closed = [](int fd) {
    char byte = 0;
    const ssize_t n = ::recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN);
  };
  serve_while(loop, [&] {
    EXPECT_TRUE(wait_until(
        [&] {
          for (TestClient& client : established) EXPECT_TRUE(echoes(client));
          return std::ranges::count_if(crowd, closed) ==
                 static_cast<std::ptrdiff_t>(kCrowd - kFree);
        },
        10s));
  });
  TcpServer::Stats stats = echo.server.stats();
  EXPECT_EQ(stats.shed, kCrowd - kFree);
  EXPECT_EQ(stats.connections, established.size() + kFree);
  EXPECT_GE(stats.accept_back_offs, 1u);

  // One more comes; the loops rest and one line a second is logged.
  ASSERT_EQ(::connect(last, address.data(), address.size()), 0);
  const SpinOracle oracle(faults);
  run_for(loop, 1000ms);
  EXPECT_TRUE(oracle.quiet());
  EXPECT_LT(oracle.process_cpu_share(), 0.05);
  EXPECT_LE(said.count(),
            static_cast<std::size_t>(
                std::chrono::ceil<std::chrono::seconds>(Clock::now() - start).count()));

  few.release();
  const TimePoint released = Clock::now();
  serve_while(loop, [&] {
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
    EXPECT_LE(Clock::now() - released, 200ms);
    for (TestClient& other : established) EXPECT_TRUE(echoes(other));
  });
  for (const int fd : crowd) ::close(fd);
  ::close(last);
}

TEST(AcceptLimits, F35_DescriptorsRunOutAndComeFree) { descriptors_run_out({}); }

TEST(AcceptLimits, F35_DescriptorsRunOutAndComeFreeEdgeTriggered) {
  descriptors_run_out({.trigger = Trigger::edge});
}

TEST(AcceptLimits, F35_DescriptorsRunOutAndComeFreeWithThreads) {
  descriptors_run_out({.threads = 2, .accept = AcceptMode::single});
}

TEST(AcceptLimits, F41_TheLimitOfTheProcessBoundsConnectionsByItself) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  EventLoop loop;
  rlimit few = before;
  few.rlim_cur = 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EchoServer echo(loop);  // a quarter is kept: 48 connections
  ::setrlimit(RLIMIT_NOFILE, &before);
  const ExpectLog said("48 connections are open, the most allowed");
  const SocketAddress address = echo.listen();
  std::vector<TestClient> clients;
  for (int i = 0; i < 60; ++i) clients.emplace_back(address);
  EXPECT_TRUE(run_until(loop, [&] { return echo.server.stats().accepted == 60; }));
  EXPECT_EQ(echo.server.stats().refused, 12u);
  EXPECT_EQ(echo.server.connection_count(), 48u);
}

// --- the queue -----------------------------------------------------------------------------------

// In a network of its own, with loopback up. Ends the child if that is not allowed.
void enter_network(int somaxconn, int abort_on_overflow) {
  if (::unshare(CLONE_NEWNET) != 0) ::_exit(kChildSkipped);
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq up{};
  std::strncpy(up.ifr_name, "lo", sizeof(up.ifr_name) - 1);
  up.ifr_flags = IFF_UP;
  const int done = ::ioctl(fd, SIOCSIFFLAGS, &up);
  ::close(fd);
  std::ofstream most("/proc/sys/net/core/somaxconn");
  std::ofstream overflow("/proc/sys/net/ipv4/tcp_abort_on_overflow");
  most << somaxconn << std::flush;
  overflow << abort_on_overflow << std::flush;
  if (done != 0 || !most || !overflow) ::_exit(kChildSkipped);
}

// Connects until one client was served `n` times; resets by a full queue are tried again.
void connect_often(const SocketAddress& address, int n, std::atomic<int>& served) {
  const TimePoint end = Clock::now() + 40s;
  for (int i = 0; i < n && Clock::now() < end;) {
    TestClient client;
    if (client.try_connect(address) == 0 && echoes(client)) {
      ++served;
      ++i;
    }
  }
}

void many_get_through(int abort_on_overflow, const TcpServer::Options& options) {
  enter_network(1, abort_on_overflow);
  const ExpectLog warned("the kernel limits the backlog of 4096 to 1 (net.core.somaxconn)");
  EventLoop loop;
  EchoServer echo(loop, options);
  const SocketAddress address = echo.listen();
  EXPECT_EQ(warned.count(), 1u) << "of all loops' sockets together";
  std::atomic<int> served = 0;
  serve_while(loop, [&] {
    std::vector<std::thread> clients;
    for (int i = 0; i < 4; ++i) {
      clients.emplace_back([&] { connect_often(address, 250, served); });
    }
    for (std::thread& client : clients) client.join();
  });
  EXPECT_EQ(served, 1000);
  EXPECT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 0; }));
  EXPECT_GE(echo.server.stats().accepted, 1000u);
}

TEST(AcceptLimits, F40_ManyGetThroughAQueueOfOneThatDrops) {
  if (!in_child([] { many_get_through(0, {}); })) GTEST_SKIP() << "no network namespaces here";
}

TEST(AcceptLimits, F40_ManyGetThroughAQueueOfOneThatResets) {
  if (!in_child([] { many_get_through(1, {.trigger = Trigger::edge}); })) {
    GTEST_SKIP() << "no network namespaces here";
  }
}

TEST(AcceptLimits, F40_ManyGetThroughQueuesOfOneWithThreads) {
  if (!in_child([] { many_get_through(1, {.threads = 2, .accept = AcceptMode::reuse_port}); })) {
    GTEST_SKIP() << "no network namespaces here";
  }
}

TEST(AcceptLimits, F40_ABacklogThatFitsIsNotWarnedAbout) {
  if (!in_child([] {
        enter_network(16, 0);
        EventLoop loop;
        EchoServer echo(loop, {.backlog = 16});
        echo.listen();
      })) {
    GTEST_SKIP() << "no network namespaces here";
  }
}

}  // namespace
}  // namespace weir::test
