// UdpServer: addresses, threads, ending.
#include "weir/net/udp/udp_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/udp_harness.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct UdpServerThreads : testing::TestWithParam<std::size_t> {};

TEST_P(UdpServerThreads, EachPeerComesToOneLoopAndAllAreAnswered) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  std::mutex mutex;
  std::map<std::string, std::set<const EventLoop*>> loops;
  server.on_datagrams([&](UdpSocket& socket, std::span<const Datagram> batch) {
    EXPECT_TRUE(socket.loop().in_loop_thread());
    for (const Datagram& one : batch) {
      {
        const std::lock_guard lock(mutex);
        loops[one.peer.copy().to_string()].insert(&socket.loop());
      }
      socket.reply(one, one.payload);
    }
  });
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  const SocketAddress second = server.listen("unix:@weir-udp-server-test").value();
  EXPECT_EQ(server.loop_count(), std::max<std::size_t>(GetParam(), 1));
  std::vector<UdpPeer> peers(20);
  for (int round = 0; round < 5; ++round) {
    for (const UdpPeer& peer : peers) ASSERT_TRUE(peer.send(address, std::to_string(round)));
    for (const UdpPeer& peer : peers) {
      std::optional<std::string> answer;
      ASSERT_TRUE(run_until(loop, [&] {
        if (!answer) answer = peer.receive(0);
        return answer.has_value();
      }));
      EXPECT_EQ(answer, std::to_string(round));
    }
  }
  const UdpPeer unix_peer("unix:@weir-udp-server-test-peer");
  ASSERT_TRUE(unix_peer.send(second, "x"));
  ASSERT_TRUE(run_until(loop, [&] { return server.stats().sent == 101; }));
  EXPECT_EQ(unix_peer.receive(), "x");
  EXPECT_EQ(server.stats().received, 101u);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(loops.size(), 21u);
  for (const auto& [peer, used] : loops) EXPECT_EQ(used.size(), 1u) << peer;
}

TEST_P(UdpServerThreads, ShutdownServesWhatHasComeAndIsToldOnce) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  server.on_datagrams(echo_all);
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  const UdpPeer peer;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(peer.send(address, "x"));
  int told = 0;
  std::thread([&] { server.shutdown(5s, [&] { ++told; }); }).join();
  server.shutdown(4s, [&] { ++told; });
  ASSERT_TRUE(run_until(loop, [&] { return told == 2; }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(peer.receive(), "x");
  EXPECT_FALSE(server.listen("127.0.0.1:0"));
  server.shutdown(1s, [&] { ++told; });
  ASSERT_TRUE(run_until(loop, [&] { return told == 3; }));
  // The port is free again.
  UdpSocket next(loop);
  EXPECT_TRUE(next.bind(address));
}

TEST_P(UdpServerThreads, IsDestroyedUnderFire) {
  for (int i = 0; i < 5; ++i) {
    EventLoop loop;
    std::optional<UdpServer> server(std::in_place, loop, UdpServer::Options{.threads = GetParam()});
    server->on_datagrams(echo_all);
    const SocketAddress address = server->listen("127.0.0.1:0").value();
    std::atomic<bool> stop{false};
    std::thread fire([&] {
      const UdpPeer peer;
      while (!stop) static_cast<void>(peer.send(address, "x"));
    });
    EXPECT_TRUE(run_until(loop, [&] { return server->stats().received > 50; }));
    server.reset();
    stop = true;
    fire.join();
    run_turn(loop);
  }
}

TEST_P(UdpServerThreads, APortThatIsTakenIsRefused) {
  EventLoop loop;
  UdpServer first(loop, {.threads = GetParam()});
  const SocketAddress address = first.listen("127.0.0.1:0").value();
  UdpServer second(loop, {.threads = GetParam()});
  const auto refused = second.listen(address);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errno(EADDRINUSE));
}

INSTANTIATE_TEST_SUITE_P(Loops, UdpServerThreads, testing::Values(0, 2));

TEST(UdpServer, MayBeDestroyedInItsHandler) {
  EventLoop loop;
  std::optional<UdpServer> server(std::in_place, loop);
  int calls = 0;
  server->on_datagrams([&](UdpSocket&, std::span<const Datagram>) {
    ++calls;
    server.reset();
  });
  const SocketAddress address = server->listen("127.0.0.1:0").value();
  const UdpPeer peer;
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(peer.send(address, "x"));
  run_for(loop, 10ms);
  EXPECT_EQ(calls, 1);
}

TEST(UdpServer, HandlersPerLoopAreMadeAndDestroyedOnTheirLoops) {
  struct Handler final : DatagramHandler {
    explicit Handler(EventLoop& on) : loop(on) { EXPECT_TRUE(loop.in_loop_thread()); }
    ~Handler() override { EXPECT_TRUE(loop.in_loop_thread()); }
    void on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) override {
      EXPECT_EQ(&socket.loop(), &loop);
      echo_all(socket, batch);
    }
    EventLoop& loop;
  };
  EventLoop loop;
  UdpServer server(loop, {.threads = 2});
  std::atomic<int> made = 0;
  server.handlers_per_loop([&](EventLoop& on) {
    ++made;
    return std::make_shared<Handler>(on);
  });
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  EXPECT_EQ(made, 2);
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(address, "x"));
  EXPECT_EQ(peer.receive(), "x");
}

TEST(UdpServer, ADeadlineEndsWhatCannotBeSent) {
  UdpHarness world({}, "");  // for its fault table
  UdpServer server(world.loop);
  server.on_datagrams(echo_all);
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  world.faults.on(Call::sendmmsg).always().fail(EAGAIN);
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(address, "x"));
  ASSERT_TRUE(world.until([&] { return server.stats().received == 1; }));
  bool done = false;
  const TimePoint begin = Clock::now();
  server.shutdown(50ms, [&] { done = true; });
  ASSERT_TRUE(world.until([&] { return done; }));
  EXPECT_GE(Clock::now() - begin, 45ms);
  EXPECT_EQ(server.stats().dropped, 1u);
}

}  // namespace
}  // namespace weir::test
