#include "weir/net/reactor/channel.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "support/handlers.h"
#include "support/loop_harness.h"
#include "support/spin_oracle.h"
#include "weir/net/reactor/internal/loop_core.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class ChannelTest : public ::testing::Test, public LoopHarness {};

TEST_F(ChannelTest, ReportsReadingWhileThereIsSomethingToRead) {
  Watched watched(loop);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 0);
  put(watched.pair.theirs);
  run_turn(loop);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 2) << "level-triggered";
  EXPECT_EQ(watched.handler.last_events, static_cast<std::uint32_t>(EPOLLIN));
  EXPECT_EQ(take(watched.pair.ours), "x");
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 2);
}

TEST_F(ChannelTest, EdgeTriggeredReportsEachChangeOnce) {
  Watched watched(loop, Trigger::edge);
  put(watched.pair.theirs);
  run_turn(loop);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 1);
  put(watched.pair.theirs);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 2);
}

TEST_F(ChannelTest, F10_InterestThatChangesBackWithinATurnCostsNoCall) {
  Watched watched(loop);
  run_turn(loop);
  const std::uint64_t before = faults.count(Call::epoll_ctl);
  for (int i = 0; i < 100; ++i) {
    watched.channel.set_writing(true);
    watched.channel.set_writing(false);
    watched.channel.set_reading(false);
    watched.channel.set_reading(true);
  }
  run_turn(loop);
  EXPECT_EQ(faults.count(Call::epoll_ctl), before);
  EXPECT_EQ(watched.handler.calls, 0);
}

TEST_F(ChannelTest, F10_WritingIsOneCallOnAndOneOff) {
  Watched watched(loop);
  run_turn(loop);
  const std::uint64_t before = faults.count(Call::epoll_ctl);
  watched.handler.ready = [&](std::uint32_t events) {
    EXPECT_TRUE(events & EPOLLOUT);
    watched.channel.set_writing(false);
  };
  watched.channel.set_writing(true);
  EXPECT_TRUE(watched.channel.writing());
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 1);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 1);
  EXPECT_EQ(faults.count(Call::epoll_ctl), before + 2);
  EXPECT_EQ(loop.stats().interest_commits, faults.count(Call::epoll_ctl));
  EXPECT_TRUE(rests(loop, faults, 200ms));
}

// Watched for errors it stays: a hang-up is reported once, and not again for who ignores it.
TEST_F(ChannelTest, F07_WithoutInterestErrorsAreReportedOnceIfWatchedFor) {
  Watched watched(loop);
  run_turn(loop);
  watched.channel.watch_errors();
  watched.channel.set_reading(false);
  const auto before = faults.count(Call::epoll_ctl);
  run_turn(loop);
  EXPECT_EQ(faults.count(Call::epoll_ctl), before + 1);
  put(watched.pair.theirs);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 0);
  watched.pair.theirs.reset();
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 1);
  EXPECT_NE(watched.handler.last_events & EPOLLHUP, 0u);
  EXPECT_TRUE(rests(loop, faults, 200ms));
  EXPECT_EQ(watched.handler.calls, 1);
  watched.channel.set_reading(true);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 2);
}

TEST_F(ChannelTest, NoInterestAtAllLeavesEpoll) {
  std::optional<int> last_operation;
  Watched watched(loop);
  run_turn(loop);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_DEL).hook([&] { last_operation = EPOLL_CTL_DEL; });
  watched.channel.set_reading(false);
  run_turn(loop);
  EXPECT_EQ(last_operation, EPOLL_CTL_DEL);
  faults.clear();
  put(watched.pair.theirs);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 0);
  watched.channel.set_reading(true);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 1);
}

TEST_F(ChannelTest, AChannelWithoutInterestMakesNoCallAtAll) {
  const std::uint64_t before = faults.count(Call::epoll_ctl);
  SocketPair pair;
  TestHandler handler;
  {
    Channel channel(loop, pair.ours.get(), handler);
    EXPECT_FALSE(channel.reading());
    EXPECT_FALSE(channel.writing());
    run_turn(loop);
  }
  EXPECT_EQ(faults.count(Call::epoll_ctl), before);
}

TEST_F(ChannelTest, RemovedBeforeTheFirstCommitItNeverReachesEpoll) {
  const std::uint64_t before = faults.count(Call::epoll_ctl);
  { const Watched watched(loop); }
  run_turn(loop);
  EXPECT_EQ(faults.count(Call::epoll_ctl), before);
}

TEST_F(ChannelTest, IdsAreNeverUsedTwice) {
  SocketPair pair;
  TestHandler handler;
  SlotId previous;
  for (int i = 0; i < 1000; ++i) {
    const Channel channel(loop, pair.ours.get(), handler);
    EXPECT_NE(channel.id(), previous);
    EXPECT_EQ(internal::core_of(loop).find_handler(channel.id()), &handler);
    EXPECT_EQ(internal::core_of(loop).find_handler(previous), nullptr);
    previous = channel.id();
  }
}

TEST_F(ChannelTest, ExclusiveSurvivesPauseAndResume) {
  SocketPair pair;
  TestHandler handler;
  Channel channel(loop, pair.ours.get(), handler);
  channel.set_exclusive();
  channel.set_reading(true);
  put(pair.theirs);
  run_turn(loop);
  EXPECT_EQ(handler.calls, 1);
  channel.set_reading(false);
  run_turn(loop);
  channel.set_reading(true);
  run_turn(loop);
  EXPECT_EQ(handler.calls, 2);
  EXPECT_EQ(handler.refusals, 0);
}

using ChannelDeathTest = ChannelTest;

TEST_F(ChannelDeathTest, InterestOnARemovedChannelIsTheCallersBug) {
  Watched watched(loop);
  watched.channel.remove();
  watched.channel.remove();
  EXPECT_TRUE(watched.channel.removed());
  EXPECT_DEATH(watched.channel.set_reading(false), "set_reading.* on a removed channel");
}

TEST(LoopDeathTest, ALoopOutlivesItsChannels) {
  EXPECT_DEATH(
      {
        auto loop = std::make_unique<EventLoop>();
        const Watched watched(*loop);
        loop.reset();
      },
      "EventLoop destroyed while 1 channels are still on it");
}

TEST_F(ChannelTest, IsRequeuedOnceHoweverOftenItIsAskedFor) {
  Watched watched(loop);
  run_turn(loop);
  watched.handler.ready = [&](std::uint32_t) {
    for (int i = 0; i < 100; ++i)
      internal::core_of(loop).requeue(watched.channel, i == 99 ? EPOLLOUT : EPOLLIN);
  };
  internal::core_of(loop).requeue(watched.channel, EPOLLIN);
  for (int turn = 1; turn <= 5; ++turn) {
    run_turn(loop);
    EXPECT_EQ(watched.handler.calls, turn);
    EXPECT_EQ(watched.handler.last_events,
              static_cast<std::uint32_t>(turn == 1 ? EPOLLIN : EPOLLIN | EPOLLOUT));
  }
  watched.channel.remove();
  internal::core_of(loop).requeue(watched.channel, EPOLLIN);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 5) << "nobody is there any more";
}

TEST_F(ChannelTest, F04_AHandlerThatAsksAgainForWhatIsRefusedDoesNotHoldTheLoop) {
  Watched watched(loop);
  faults.on(Call::epoll_ctl).first(100).fail(EPERM);
  int refused = 0;
  watched.handler.refused = [&](Errno) {
    ++refused;
    watched.channel.set_reading(true);
  };
  for (int turn = 1; turn <= 5; ++turn) {
    run_turn(loop);
    EXPECT_EQ(refused, turn);
  }
  watched.channel.remove();
}

// An exception leaves run() in the midst of a batch. What is dispatched when run() goes on happens
// then, not in the turn of the exception.
TEST_F(ChannelTest, F15_TheRestOfABatchIsDispatchedWithTheTimeOfThatRun) {
  Watched first(loop);
  Watched second(loop);
  run_turn(loop);
  TimePoint seen;
  bool thrown = false;
  const auto ready = [&](std::uint32_t) {
    if (!std::exchange(thrown, true)) throw std::runtime_error("first");
    seen = loop.now();
  };
  first.handler.ready = ready;
  second.handler.ready = ready;
  put(first.pair.theirs, "x");
  put(second.pair.theirs, "x");
  EXPECT_THROW(run_turn(loop), std::runtime_error);
  const TimePoint again = Clock::now();
  run_turn(loop);
  EXPECT_GE(seen, again);
}

}  // namespace
}  // namespace weir::test
