// F69: peers in another process that is stopped, so that they neither read, nor answer a FIN.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <vector>

#include "support/echo_server.h"
#include "support/loops.h"
#include "support/memory.h"
#include "support/process_state.h"
#include "support/test_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPeers = 100;

// Peers that connect, send and stop. Every second one leaves our output stuck. The process is ended
// with the object.
class StoppedPeers {
 public:
  explicit StoppedPeers(const SocketAddress& address) {
    child_ = ::fork();
    if (child_ != 0) return;
    ::alarm(60);
    std::vector<TestClient> clients(kPeers);
    const std::string much(1 << 20, 'x');
    for (std::size_t i = 0; i < kPeers; ++i) {
      clients[i].set_buffers(0, 4096);
      clients[i].connect(address);
      clients[i].send_some(i % 2 == 0 ? std::string_view(much) : "x", 50ms);
    }
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  ~StoppedPeers() {
    ::kill(child_, SIGKILL);
    int status = 0;
    ::waitpid(child_, &status, 0);
  }
  StoppedPeers(const StoppedPeers&) = delete;
  StoppedPeers& operator=(const StoppedPeers&) = delete;

  bool stopped() const {
    int status = 0;
    return ::waitpid(child_, &status, WUNTRACED | WNOHANG) == child_ && WIFSTOPPED(status);
  }

 private:
  pid_t child_ = -1;
};

class StuckPeers : public ::testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(Threads, StuckPeers, ::testing::Values(0, 2));

TEST_P(StuckPeers, F69_AHundredOfThemDoNotHoldUpTheEnd) {
  EventLoop loop;
  auto listener = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  ASSERT_TRUE(listener);
  const StoppedPeers peers(listener->address());  // forked before there are threads
  EchoServer echo(loop, {.threads = GetParam()});
  ASSERT_TRUE(echo.server.listen(std::move(*listener)));
  bool stopped = false;
  ASSERT_TRUE(run_until(
      loop, [&] { return stopped = stopped || peers.stopped(); }, 30s));
  ASSERT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == kPeers; }));

  const TimePoint start = Clock::now();
  TimePoint deadline;  // the time at which a timer of 300 ms runs, which is late on a busy machine
  loop.run_after(300ms, [&] { deadline = Clock::now(); });
  TimePoint end;
  echo.server.shutdown(300ms, [&] {
    end = Clock::now();
    loop.stop();
  });
  loop.run();
  EXPECT_GE(end - start, 300ms);
  EXPECT_LT(end - deadline, kSanitized ? 1s : 100ms);
  EXPECT_EQ(echo.closed_for(CloseReason::Kind::server_stopped), kPeers);
  EXPECT_EQ(echo.server.connection_count(), 0u);
}

}  // namespace
}  // namespace weir::test
