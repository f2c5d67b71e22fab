// weir::sim::World: what a user of it relies on.
#include "weir/net/sim/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "unit/sim/echo_program.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

TEST(World, AProgramRunsUnchangedInVirtualTime) {
  sim::World world(1);
  {
    EchoProgram program(world);
    EXPECT_TRUE(world.run_until([&] { return program.ended; }));
    EXPECT_EQ(program.got, "hello");
  }
  EXPECT_GT(world.elapsed(), 0ns);
  EXPECT_LT(world.elapsed(), 10ms);
  EXPECT_EQ(world.end(), 0U);
}

TEST(World, TheSameSeedDoesTheSame) {
  const auto digest = [](std::uint64_t seed) {
    sim::World world(seed, {.short_read = 0.3, .short_write = 0.3, .interrupted = 0.1});
    EchoProgram program(world, std::string(10'000, 'x'));
    EXPECT_TRUE(world.run_until([&] { return program.ended; }));
    return world.digest();
  };
  EXPECT_EQ(digest(7), digest(7));
  EXPECT_NE(digest(7), digest(8));
}

TEST(World, AnHourOfTimersTakesNoTime) {
  sim::World world(1);
  EventLoop& loop = world.host("only").loop();
  int runs = 0;
  const TimerId timer = loop.run_every(1min, [&] { ++runs; });
  world.run_for(1h);
  EXPECT_GE(runs, 59);
  EXPECT_LE(runs, 60);
  EXPECT_LT(world.elapsed() - 1h, 1ms);
  EXPECT_TRUE(loop.cancel(timer));
}

TEST(World, NothingHappensAnyMore) {
  sim::World world(1);
  world.host("only");
  EXPECT_FALSE(world.run_until([] { return false; }));
  EXPECT_LT(world.elapsed(), 1s) << "it waited for the limit";
}

TEST(World, APartitionDelaysAndHealEndsIt) {
  sim::World world(3);
  EchoProgram program(world);
  EXPECT_TRUE(world.run_until([&] { return program.server.stats().connections == 1; }));
  world.partition(world.host("server"), world.host("client"));
  EXPECT_FALSE(world.run_until([&] { return program.ended; }, 2s));
  EXPECT_EQ(program.got, "");
  world.heal();
  EXPECT_TRUE(world.run_until([&] { return program.ended; }, 2s));
  EXPECT_EQ(program.got, "hello");
}

TEST(World, NobodyListens) {
  sim::World world(1);
  TcpClient client(world.host("client").loop());
  std::string failure;
  client.on_connect_error([&](const Error& error, int) { failure = error.message(); });
  ASSERT_TRUE(client.connect("127.0.0.1:9").has_value());
  EXPECT_TRUE(world.run_until([&] { return !failure.empty(); }));
  EXPECT_NE(failure.find("Connection refused"), std::string::npos) << failure;
}

TEST(World, DatagramsAreLostAndDoubled) {
  sim::World world(5, {.lost = 0.3, .duplicated = 0.3});
  UdpSocket server(world.host("server").loop());
  std::vector<std::string> got;
  server.on_datagrams([&](UdpSocket&, std::span<const Datagram> batch) {
    for (const Datagram& each : batch) {
      got.emplace_back(reinterpret_cast<const char*>(each.payload.data()), each.payload.size());
    }
  });
  const auto address = server.bind("127.0.0.1:9000");
  ASSERT_TRUE(address.has_value());
  UdpSocket client(world.host("client").loop());
  ASSERT_TRUE(client.connect(*address).has_value());
  for (int i = 0; i < 100; ++i) client.send(std::to_string(i));
  world.run_for(1s);
  std::vector<std::string> distinct = got;
  std::ranges::sort(distinct);
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  EXPECT_LT(distinct.size(), 100U);
  EXPECT_GT(distinct.size(), 40U);
  EXPECT_GT(got.size(), distinct.size());
}

TEST(World, ADescriptorThatIsLeftIsCounted) {
  sim::World world(1);
  const int file = world.open_file("text");
  EXPECT_GE(file, 3);
  EXPECT_EQ(world.end(), 1U);
}

TEST(World, ALoopThatSpinsIsReported) {
  struct Idle final : IoHandler {
    void on_ready(std::uint32_t) override {}  // reads nothing
    void on_interest_refused(Errno) override {}
  };
  sim::World world(1);
  Idle idle;
  {
    UdpSocket sender(world.host("only").loop());
    UdpSocket receiver(world.host("only").loop());
    const auto address = receiver.bind("127.0.0.1:9000");
    ASSERT_TRUE(address.has_value());
    receiver.pause_receiving();
    world.run_for(1ms);
    Channel channel(world.host("only").loop(), receiver.fd(), idle);
    channel.set_reading(true);
    ASSERT_TRUE(sender.connect(*address).has_value());
    sender.send("never read");
    EXPECT_FALSE(world.run_until([] { return false; }));
  }
  EXPECT_TRUE(world.spins());
}

TEST(World, TheTraceHasEachCall) {
  std::vector<std::string> lines;
  sim::World world(1);
  world.trace([&](const std::string& line) { lines.push_back(line); });
  EchoProgram program(world);
  EXPECT_TRUE(world.run_until([&] { return program.ended; }));
  EXPECT_EQ(lines.size(), world.calls());
  EXPECT_NE(std::ranges::find_if(lines,
                                 [](const auto& line) {
                                   return line.contains(" send(") && line.ends_with(") = 5");
                                 }),
            lines.end());
}

using WorldDeathTest = ::testing::Test;

TEST(WorldDeathTest, ASecondWorldIsRefused) {
  sim::World world(1);
  EXPECT_DEATH(sim::World second(2), "a process has one at a time");
}

}  // namespace
}  // namespace weir::test
