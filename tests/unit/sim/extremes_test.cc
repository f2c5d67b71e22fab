// weir::sim with extreme faults, and used in ways that are wrong or unusual.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "unit/sim/echo_program.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/sim/world.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

bool serves(const sim::Faults& faults) {
  sim::World world(1, faults);
  EchoProgram program(world);
  return world.run_until([&] { return program.ended; }) && program.got == "hello";
}

TEST(WorldExtremes, EachCallIsInterruptedButNotForEver) { EXPECT_TRUE(serves({.interrupted = 1})); }

TEST(WorldExtremes, SegmentsOfNoBytes) { EXPECT_TRUE(serves({.max_segment = 0})); }

TEST(WorldExtremes, EachWaitReportsAFalseEvent) { EXPECT_TRUE(serves({.false_event = 1})); }

TEST(WorldExtremes, ALatencyOrACallThatNeverEnds) {
  EXPECT_FALSE(serves({.max_latency = Duration::max()}));
  EXPECT_FALSE(serves({.call_time = Duration::max()}));
}

TEST(WorldExtremes, AHostWithoutDescriptorsIsNotMade) {
  sim::World world(1, {.max_descriptors = 1});
  EXPECT_THROW(world.host("only"), SystemError);
  EXPECT_FALSE(world.run_until([] { return false; }));
  world.set_faults({});
  bool ran = false;
  world.host("only").loop().post([&] { ran = true; });
  EXPECT_TRUE(world.run_until([&] { return ran; }));
}

TEST(WorldExtremes, TimePassesAlthoughNothingHappens) {
  sim::World world(1);
  world.host("only");
  world.run_for(10s);
  EXPECT_EQ(world.elapsed() / 1s, 10);
  world.run_for(Duration::max());
  EXPECT_GT(world.elapsed(), 24h);
}

TEST(WorldExtremes, ATaskThatPostsItselfForEverSpins) {
  sim::World world(1, {.call_time = 0ns});
  EventLoop& loop = world.host("only").loop();
  struct Again {
    EventLoop& loop;
    void operator()() const { loop.post(Again{loop}); }
  };
  loop.post(Again{loop});
  EXPECT_FALSE(world.run_until([] { return false; }));
  EXPECT_TRUE(world.spins());
}

TEST(WorldExtremes, TasksAndFalseEventsAreNoSpin) {
  sim::World world(1, {.false_event = 1});
  const EchoProgram program(world);
  world.run_for(1ms);
  EventLoop& loop = world.host("server").loop();
  int left = 5000;
  struct Next {
    EventLoop& loop;
    int& left;
    void operator()() const {
      if (--left > 0) loop.post(Next{loop, left});
    }
  };
  loop.post(Next{loop, left});
  EXPECT_TRUE(world.run_until([&] { return left == 0; }));
}

TEST(WorldExtremes, ALoopOfTheProgramItselfDoesNotRunAndHoldsNothingUp) {
  sim::World world(1);
  world.host("other");
  EventLoop own;
  UdpSocket receiver(own);
  UdpSocket sender(own);
  const auto address = receiver.bind("127.0.0.1:9000");
  ASSERT_TRUE(address.has_value());
  ASSERT_TRUE(sender.connect(*address).has_value());
  sender.send("never read");
  static_cast<void>(own.turn(0ns));
  EXPECT_FALSE(world.run_until([] { return false; }));
  EXPECT_FALSE(world.spins());
}

TEST(WorldExtremes, TheSameSeedReconnectsAtTheSameTimes) {
  const auto digest = [] {
    sim::World world(1);
    TcpClient client(world.host("client").loop(), {.reconnect = {.initial = 100ms}});
    client.on_connect_error([](const Error&, int) {});
    EXPECT_TRUE(client.connect("127.0.0.1:9").has_value());
    world.run_for(20s);
    return world.digest();
  };
  const std::uint64_t first = digest();
  EXPECT_EQ(first, digest());
}

TEST(WorldExtremes, ADescriptorThatOutlivesTheWorldClosesNoOther) {
  std::optional<Fd> file;
  {
    sim::World world(1);
    file.emplace(world.open_file("text"));
  }
  const Fd real(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_NE(real.get(), file->get());
  file.reset();
  EXPECT_GE(::fcntl(real.get(), F_GETFD), 0);
}

TEST(WorldExtremes, ALoopThatIsOlderThanTheWorldCanBeDestroyedInIt) {
  auto loop = std::make_unique<EventLoop>();
  const sim::World world(1);
  loop.reset();  // LeakCheck looks for its descriptors
}

TEST(WorldExtremesDeathTest, AnotherThreadIsRefused) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        std::thread([&] { world.host("only"); }).join();
      },
      "on a thread that is not that of its constructor");
}

}  // namespace
}  // namespace weir::test
