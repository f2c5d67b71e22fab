// UdpServer: addresses, threads, ending.
#include "weir/net/udp/udp_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/net_namespace.h"
#include "support/process_state.h"
#include "support/test_client.h"
#include "support/udp_harness.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/tcp/tcp_server.h"

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
  const SocketAddress second = server.listen(abstract_address("server-test")).value();
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
  const UdpPeer unix_peer(abstract_address("server-test-peer"));
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

TEST_P(UdpServerThreads, F62_WhenOneDoneThrowsTheOthersAreStillCalled) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  ASSERT_TRUE(server.listen("127.0.0.1:0"));
  int told = 0;
  server.shutdown(5s, [] { throw std::runtime_error("first"); });
  server.shutdown(5s, [&] { ++told; });
  server.shutdown(5s, [&] {
    ++told;
    throw std::runtime_error("third");
  });
  server.shutdown(5s, [&] { ++told; });
  int thrown = 0;
  while (thrown < 2) {
    try {
      ASSERT_TRUE(run_until(loop, [&] { return told == 3; }));
      break;
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  ASSERT_TRUE(run_until(loop, [&] { return told == 3; }));
  EXPECT_EQ(thrown, 2);
}

TEST_P(UdpServerThreads, ServesDuringTheGraceWhichALaterShutdownEnds) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  server.on_datagrams(echo_all);
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  const UdpPeer peer;
  int told = 0;
  server.shutdown({.deadline = 60s, .grace = 50s}, [&] { ++told; });
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(peer.send(address, "x"));
    const auto answers = static_cast<std::uint64_t>(i);
    ASSERT_TRUE(run_until(loop, [&] { return server.stats().sent == answers; }));
    EXPECT_EQ(peer.receive(), "x");
  }
  EXPECT_FALSE(server.listen("127.0.0.1:0"));
  EXPECT_EQ(told, 0);
  server.shutdown({.deadline = 60s, .grace = 55s}, [&] { ++told; });  // changes nothing
  server.shutdown({.deadline = 60s, .grace = 10ms}, [&] { ++told; });
  ASSERT_TRUE(run_until(loop, [&] { return told == 3; }));
}

TEST_P(UdpServerThreads, TheGraceEndsAtTheDeadline) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  ASSERT_TRUE(server.listen("127.0.0.1:0"));
  const TimePoint begin = Clock::now();
  bool done = false;
  server.shutdown({.deadline = 20ms, .grace = 60s}, [&] { done = true; });
  ASSERT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_GE(Clock::now() - begin, 20ms);
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

TEST_P(UdpServerThreads, ShutdownEndsWithLoopsThatHaveNoSocket) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  ASSERT_TRUE(server.listen(abstract_address("first-loop-only")));
  bool done = false;
  server.shutdown(5s, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
}

TEST_P(UdpServerThreads, AListenThatFailsLeavesNothingOpen) {
  const bool entered = in_net_namespace([] {  // where nobody else takes the port
    UdpHarness world({}, "");                 // for its fault table
    const SocketAddress address = SocketAddress::parse("127.0.0.1:7000").value();
    UdpServer server(world.loop, {.threads = GetParam()});
    // The threads are slow to close, so a listen() that did not wait for them would be seen.
    world.faults.on(Call::close).hook([home = std::this_thread::get_id()] {
      if (std::this_thread::get_id() != home) std::this_thread::sleep_for(20ms);
    });
    // The last socket of those that it takes.
    world.faults.on(Call::socket).nth(GetParam() == 0 ? 1 : 1 + GetParam()).fail(EMFILE);
    const auto refused = server.listen(address);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errno(EMFILE));
    EXPECT_TRUE(server.listen(address)) << "nothing is in its way";
    bool done = false;
    server.shutdown(5s, [&] { done = true; });
    EXPECT_TRUE(world.until([&] { return done; }));
  });
  if (!entered) GTEST_SKIP() << kNoNamespace;
}

TEST_P(UdpServerThreads, ShutdownAfterAListenThatFailedIsTold) {
  EventLoop loop;
  UdpServer server(loop, {.threads = GetParam()});
  const UdpPeer has_it;
  ASSERT_FALSE(server.listen(has_it.address()));
  bool done = false;
  server.shutdown(5s, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
}

TEST_P(UdpServerThreads, AnyThreadMayAskWhileSocketsComeAndGo) {
  // forget() is the user's, and may ask as well.
  struct Handler final : DatagramHandler {
    explicit Handler(const UdpServer& asked) : server(asked) {}
    void forget(UdpSocket&) override { EXPECT_EQ(server.stats().send_failed, 0u); }
    const UdpServer& server;
  };
  for (const bool shut_down : {true, false}) {
    EventLoop loop;
    UdpServer server(loop, UdpServer::Options{.threads = GetParam()});
    server.use_handler(std::make_shared<Handler>(server));
    ASSERT_TRUE(server.listen("127.0.0.1:0"));
    std::atomic<bool> stop{false};
    std::atomic<int> asked{0};
    std::thread asks([&] {
      for (; !stop; ++asked) EXPECT_EQ(server.stats().received, 0u);
    });
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(server.listen("127.0.0.1:0"));
    bool done = !shut_down;
    if (shut_down) server.shutdown(5s, [&] { done = true; });
    EXPECT_TRUE(run_until(loop, [&] { return done && asked > 0; }));
    stop = true;
    asks.join();
  }
}

INSTANTIATE_TEST_SUITE_P(Loops, UdpServerThreads, testing::Values(0, 2));

TEST(UdpServer, ShutdownIsToldWhenAllLoopsHaveSentTheirs) {
  UdpHarness world({}, "");  // for its fault table
  UdpServer server(world.loop, {.threads = 2});
  server.on_datagrams(echo_all);
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  world.faults.on(Call::sendmmsg).always().fail(EAGAIN);
  const UdpPeer peer;  // which is one loop's
  ASSERT_TRUE(peer.send(address, "x"));
  ASSERT_TRUE(world.until([&] { return server.stats().send_calls >= 1; }));
  int told = 0;
  for (const auto deadline : {60s, 50s, 40s}) {
    const std::uint64_t closed = world.faults.count(Call::close);
    server.shutdown(deadline, [&] { ++told; });
    // The other loop's socket, once.
    ASSERT_TRUE(
        world.until([&] { return deadline < 60s || world.faults.count(Call::close) > closed; }));
    run_for(world.loop, 10ms);
    EXPECT_EQ(told, 0);
  }
  world.faults.clear();
  ASSERT_TRUE(world.until([&] { return told == 3; }));
  EXPECT_EQ(peer.receive(), "x");
}

TEST(UdpServer, HasAFunctionForEachEventOfItsHandler) {
  UdpHarness world({}, "");  // for its fault table
  const UdpSocket::Options options{.max_queued = 100'000, .queue_full = QueueFull::refuse};
  UdpServer server(world.loop, {.socket = options});
  std::vector<Errno> failures;
  std::vector<Errno> errors;
  int drained = 0;
  server.on_datagrams([](UdpSocket& socket, std::span<const Datagram> batch) {
    socket.reply(batch[0], std::string(65'520, 'x'));  // IPv4 carries 65,507
    for (int i = 0; i < 300; ++i) socket.reply(batch[0], std::string(1000, 'x'));
  });
  server.on_send_failed(
      [&](UdpSocket&, const FailedDatagram& failed) { failures.push_back(failed.error); });
  server.on_drained([&](UdpSocket&) { ++drained; });
  server.on_error([&](UdpSocket&, Errno error) { errors.push_back(error); });
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  const UdpPeer peer;
  world.faults.on(Call::recvmmsg).nth(1).fail(ECONNREFUSED);
  world.faults.on(Call::sendmmsg).nth(2).fail(EAGAIN);
  ASSERT_TRUE(peer.send(address, "x"));
  ASSERT_TRUE(world.until([&] { return drained > 0; }));
  EXPECT_EQ(failures, std::vector{Errno(EMSGSIZE)});
  EXPECT_EQ(errors, std::vector{Errno(ECONNREFUSED)});
}

TEST(UdpServer, PortZeroIsAPortOfItsOwn) {
  const bool entered = in_net_namespace([] {
    ASSERT_TRUE(set_net_option("ipv4/ip_local_port_range", "40000 40003"));
    EventLoop loop;
    std::vector<std::unique_ptr<UdpServer>> servers;
    std::set<std::uint16_t> ports;
    for (std::size_t i = 0; i < 4; ++i) {
      servers.push_back(std::make_unique<UdpServer>(loop, UdpServer::Options{.threads = 2}));
      const auto address = servers.back()->listen("127.0.0.1:0");
      ASSERT_TRUE(address) << address.error().message();
      EXPECT_TRUE(ports.insert(address->port()).second) << address->port();
    }
    UdpServer one_too_many(loop, {.threads = 2});
    EXPECT_FALSE(one_too_many.listen("127.0.0.1:0"));
  });
  if (!entered) GTEST_SKIP() << kNoNamespace;
}

TEST(UdpServer, AFactoryThatThrowsLeavesNothingBehind) {
  EventLoop loop;
  UdpServer server(loop, {.threads = 2});
  bool throws = true;
  server.handlers_per_loop([&](EventLoop&) -> std::shared_ptr<DatagramHandler> {
    if (throws) throw std::runtime_error("not today");
    return std::make_shared<DatagramHandler>();
  });
  EXPECT_THROW(static_cast<void>(server.listen("127.0.0.1:0")), std::runtime_error);
  throws = false;
  EXPECT_TRUE(server.listen("127.0.0.1:0"));
}

TEST(UdpServer, F57_WithoutThreadsListenIsAnErrorAndLeavesNothing) {
  UdpHarness world({}, "");  // for its fault table
  UdpServer server(world.loop, {.threads = 3});
  const auto before = open_descriptors();
  world.faults.on(Call::pthread_create).nth(2).fail(EAGAIN);
  const auto refused = server.listen("127.0.0.1:0");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), EAGAIN);
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(threads_of_weir(), 0);
  EXPECT_TRUE(server.listen("127.0.0.1:0")) << "as if nothing had happened";
}

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

// Both servers of one protocol, on the same loops.
TEST(UdpServer, ATcpServerAndAUdpServerShareAPool) {
  EventLoop loop;
  LoopPool pool(2);
  std::optional<UdpServer> udp(std::in_place, loop, UdpServer::Options{.pool = &pool});
  TcpServer tcp(loop, {.pool = &pool});
  std::mutex mutex;
  std::set<EventLoop*> used;  // mutex
  udp->on_datagrams([&](UdpSocket& socket, std::span<const Datagram> batch) {
    for (const Datagram& in : batch) socket.reply(in, in.payload);
    const std::lock_guard lock(mutex);
    used.insert(&socket.loop());
  });
  const SocketAddress address = udp->listen("127.0.0.1:0").value();
  const SocketAddress stream = tcp.listen("127.0.0.1:0").value();
  ASSERT_EQ(udp->loop_count(), 2u);
  EXPECT_EQ(&udp->loop(0), &tcp.loop(0));
  EXPECT_EQ(&udp->loop(1), &pool.loop(1));
  std::vector<UdpPeer> peers(16);
  for (UdpPeer& peer : peers) {
    ASSERT_TRUE(peer.send(address, "hello"));
    EXPECT_EQ(peer.receive(), "hello");
  }
  {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(used.size(), 2u);
  }
  udp.reset();
  TestClient client(stream);
  EXPECT_TRUE(run_until(loop, [&] { return tcp.connection_count() == 1; }));
}

TEST(UdpServer, F60_APoolAndThreadsEndTheProgramWithASentence) {
  EventLoop loop;
  LoopPool pool(1);
  EXPECT_DEATH(UdpServer(loop, {.threads = 1, .pool = &pool}), "both a pool and threads");
}

// All fields are counters; one that is added and forgotten is found.
TEST(UdpStats, TheDifferenceSubtractsEveryCounter) {
  UdpSocket::Stats earlier;
  UdpSocket::Stats later;
  const auto words = [](UdpSocket::Stats& stats) {
    return std::span(reinterpret_cast<std::uint64_t*>(&stats),
                     sizeof(UdpSocket::Stats) / sizeof(std::uint64_t));
  };
  for (std::size_t i = 0; i < words(later).size(); ++i) {
    words(earlier)[i] = 2 * (i + 1);
    words(later)[i] = 5 * (i + 1);
  }
  UdpSocket::Stats difference = later - earlier;
  for (std::size_t i = 0; i < words(difference).size(); ++i) {
    EXPECT_EQ(words(difference)[i], 3 * (i + 1)) << "field " << i;
  }
}

}  // namespace
}  // namespace weir::test
