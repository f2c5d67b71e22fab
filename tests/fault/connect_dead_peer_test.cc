// A peer that vanished without a word: the cable between two network namespaces is pulled.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "support/client_harness.h"
#include "support/echo_server.h"
#include "support/net_namespace.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// An echo server at 10.9.0.2:7000, behind a cable from 10.9.0.1, in a namespace of its own; for the
// thread of a namespace.
class FarServer {
 public:
  FarServer() {
    EXPECT_TRUE(ip("link add v0 type veth peer name v1 address 02:00:00:00:00:02"));
    EXPECT_TRUE(ip("address add 10.9.0.1/24 dev v0"));
    EXPECT_TRUE(ip("link set v0 up"));
    // As with a router in between: that the peer has gone is not told by ARP either.
    EXPECT_TRUE(ip("neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev v0"));
    thread_ = std::thread([this] { EXPECT_TRUE(in_net_namespace([this] { serve(); })); });
    EXPECT_TRUE(wait_until([this] { return there_ != 0; }));
    EXPECT_TRUE(ip("link set v1 netns " + std::to_string(there_)));
    connected_ = true;
    EXPECT_TRUE(wait_until([this] { return listening_.load(); }));
  }
  ~FarServer() {
    over_ = true;
    thread_.join();
  }
  FarServer(const FarServer&) = delete;
  FarServer& operator=(const FarServer&) = delete;

  void pull_cable() {
    pull_ = true;
    EXPECT_TRUE(wait_until([this] { return pulled_.load(); }));
  }

 private:
  void serve() {
    there_ = this_thread_id();
    EXPECT_TRUE(wait_until([this] { return connected_.load(); }));
    EXPECT_TRUE(ip("address add 10.9.0.2/24 dev v1"));
    EXPECT_TRUE(ip("link set v1 up"));
    EventLoop loop;
    EchoServer echo(loop);
    echo.listen("10.9.0.2:7000");
    listening_ = true;
    EXPECT_TRUE(run_until(
        loop, [this] { return pull_ || over_; }, 20s));
    // Our end of the cable stays up, as it does if there is a switch in between.
    EXPECT_TRUE(ip("address flush dev v1"));
    pulled_ = true;
    EXPECT_TRUE(wait_until([this] { return over_.load(); }, 20s));
  }

  std::atomic<pid_t> there_ = 0;
  std::atomic<bool> connected_ = false;
  std::atomic<bool> listening_ = false;
  std::atomic<bool> pull_ = false;
  std::atomic<bool> pulled_ = false;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

// How long the client took to notice, from its last send.
Duration time_to_notice(ClientHarness& tcp, bool send) {
  FarServer server;
  EXPECT_TRUE(tcp.client->connect("10.9.0.2:7000"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
  EXPECT_TRUE(tcp.client->connection().send("hello"));
  EXPECT_TRUE(tcp.until([&] { return tcp.received == "hello"; }));
  TimePoint start = Clock::now();  // the last byte that moved
  server.pull_cable();
  if (send) {
    start = Clock::now();
    EXPECT_TRUE(tcp.client->connection().send("are you there?"));
  }
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.close == 1; }, 15s));
  return Clock::now() - start;
}

TEST(DeadPeer, F32_UserTimeoutEndsAConnectionThatIsNotAnswered) {
  const bool done = in_net_namespace([] {
    // The kernel counts from the first repetition, which is 0.2 s later, or 0.4 s with a tail loss
    // probe before it.
    ASSERT_TRUE(set_net_option("ipv4/tcp_early_retrans", "0"));
    ClientHarness tcp({.user_timeout = 5s});
    const Duration took = time_to_notice(tcp, true);
    EXPECT_GE(took, 4500ms);
    EXPECT_LE(took, 5500ms);
    ASSERT_TRUE(tcp.reason);
    EXPECT_EQ(tcp.reason->kind, Kind::io_error) << tcp.reason->to_string();
    EXPECT_EQ(tcp.reason->error.value(), ETIMEDOUT) << tcp.reason->to_string();
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

TEST(DeadPeer, F32_IdleTimeoutEndsAConnectionThatIsSilent) {
  const bool done = in_net_namespace([] {
    ClientHarness tcp({.idle_timeout = 1500ms, .linger_timeout = 100ms});
    const Duration took = time_to_notice(tcp, false);
    EXPECT_GE(took, 1500ms);
    EXPECT_LE(took, 1500ms * 16 / 15 + 100ms * 16 / 15 + 500ms);
    ASSERT_TRUE(tcp.reason);
    EXPECT_EQ(tcp.reason->kind, Kind::idle_timeout) << tcp.reason->to_string();
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

}  // namespace
}  // namespace weir::test
