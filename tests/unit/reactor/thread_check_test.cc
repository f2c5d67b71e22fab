// Loop-only calls from another thread end the program with a message that names the call, in every
// build.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>

#include "support/handlers.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct World {
  EventLoop loop;
  SocketPair pair;
  TestHandler handler;
  Channel channel{loop, pair.ours.get(), handler};
};

struct LoopOnlyCall {
  const char* name;
  std::function<void(World&)> call;
};

class ThreadCheckDeathTest : public ::testing::TestWithParam<LoopOnlyCall> {};

TEST_P(ThreadCheckDeathTest, F60_ALoopOnlyCallFromAnotherThreadNamesItself) {
  World world;
  const std::string message =
      std::string(GetParam().name) + ".* called from a thread that is not the loop's";
  EXPECT_DEATH(on_other_thread([&] { GetParam().call(world); }), message);
}

INSTANTIATE_TEST_SUITE_P(
    Loop, ThreadCheckDeathTest,
    ::testing::Values(
        LoopOnlyCall{"EventLoop::run", [](World& w) { w.loop.run(); }},
        LoopOnlyCall{"EventLoop::run_at", [](World& w) { w.loop.run_at(TimePoint{}, [] {}); }},
        LoopOnlyCall{"EventLoop::run_after", [](World& w) { w.loop.run_after(1ms, [] {}); }},
        LoopOnlyCall{"EventLoop::run_every", [](World& w) { w.loop.run_every(1ms, [] {}); }},
        LoopOnlyCall{"EventLoop::cancel", [](World& w) { w.loop.cancel(TimerId{}); }},
        LoopOnlyCall{"EventLoop::now", [](World& w) { static_cast<void>(w.loop.now()); }},
        LoopOnlyCall{"EventLoop::~EventLoop", [](World& w) { w.loop.~EventLoop(); }},
        LoopOnlyCall{"Channel::Channel",
                     [](World& w) { const Channel c(w.loop, w.pair.theirs.get(), w.handler); }},
        LoopOnlyCall{"set_reading", [](World& w) { w.channel.set_reading(true); }},
        LoopOnlyCall{"set_writing", [](World& w) { w.channel.set_writing(true); }},
        LoopOnlyCall{"Channel::set_exclusive", [](World& w) { w.channel.set_exclusive(); }},
        LoopOnlyCall{"Channel::remove", [](World& w) { w.channel.remove(); }}));

TEST(ThreadCheck, F60_CallsForAnyThreadWorkFromAnyThread) {
  World world;
  on_other_thread([&] {
    EXPECT_TRUE(world.loop.post([] {}));
    EXPECT_TRUE(world.loop.dispatch([] {}));
    EXPECT_FALSE(world.loop.in_loop_thread());
    EXPECT_EQ(world.loop.stats().turns, 0u);
    world.loop.stop();
  });
  world.loop.run();
}

}  // namespace
}  // namespace weir::test
