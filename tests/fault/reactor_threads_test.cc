// Other threads, failing creation, exceptions and descriptors: what surrounds a loop.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/handlers.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "support/spin_oracle.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/reactor/signal_set.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// -- F56, F57: waking up -----------------------------------------------------------------

TEST(ReactorThreads, F56_PingPongBetweenTwoLoopsLosesNoWakeUp) {
  LoopPool pool(2);
  constexpr int kHops = 50'000;
  std::atomic<int> hops{0};
  struct Hop {
    LoopPool& pool;
    std::atomic<int>& hops;
    void operator()() const {
      const int n = ++hops;
      if (n < kHops) pool.loop(static_cast<std::size_t>(n % 2)).post(Hop{pool, hops});
    }
  };
  pool.loop(0).post(Hop{pool, hops});
  EXPECT_TRUE(wait_until([&] { return hops >= kHops; }, 60s));
}

// Each post finds the loop in another moment of going to sleep.
TEST(ReactorThreads, F56_SinglePostsAtAllMomentsArrive) {
  LoopPool pool(1);
  std::atomic<int> arrived{0};
  for (int i = 1; i <= 10'000; ++i) {
    pool.loop(0).post([&] { arrived.fetch_add(1); });
    const TimePoint end = Clock::now() + 10s;
    while (arrived.load() < i && Clock::now() < end) {
    }
    ASSERT_EQ(arrived.load(), i) << "a post that nobody noticed";
  }
}

TEST(ReactorThreads, F56_TheEventfdIsDrained) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  on_other_thread([&] {
    for (int i = 0; i < 10; ++i) loop.post([] {});
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(rests(loop, faults, 300ms)) << "a full eventfd would end every wait";
}

TEST(ReactorThreads, F57_AFullEventfdMeansAWakeUpIsPending) {
  FaultTable faults;
  const ScopedFaults use(faults);
  LoopPool pool(1);
  std::atomic<int> ran{0};
  EXPECT_TRUE(wait_until([&] { return faults.waits() > 0; }));
  faults.on(Call::write).nth(1).do_then_fail(EAGAIN);
  pool.loop(0).post([&] { ++ran; });
  EXPECT_TRUE(wait_until([&] { return ran == 1; }));
  faults.on(Call::write).nth(1).fail(EINTR);
  faults.on(Call::read).nth(1).fail(EINTR);
  EXPECT_TRUE(wait_until([&] {
    const std::uint64_t waits = faults.waits();
    std::this_thread::sleep_for(2ms);
    return faults.waits() == waits;
  }));
  pool.loop(0).post([&] { ++ran; });
  EXPECT_TRUE(wait_until([&] { return ran == 2; })) << "written again after EINTR";
}

TEST(ReactorThreads, F57_F72_CreationThatFailsIsAnErrorAndClosesWhatWasOpen) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const auto before = open_descriptors();
  struct Case {
    Call call;
    int error;
    const char* text;
  };
  for (const Case& each :
       {Case{Call::epoll_create1, EMFILE, "epoll_create1"},
        Case{Call::epoll_create1, ENFILE, "epoll_create1"},
        Case{Call::epoll_create1, ENOMEM, "epoll_create1"}, Case{Call::eventfd, EMFILE, "eventfd"},
        Case{Call::eventfd, ENODEV, "eventfd"}, Case{Call::epoll_ctl, ENOMEM, "epoll_ctl"},
        Case{Call::epoll_ctl, ENOSPC, "epoll_ctl"}}) {
    faults.on(each.call).nth(1).fail(each.error);
    const auto loop = EventLoop::create();
    ASSERT_FALSE(loop);
    EXPECT_EQ(loop.error().code(), each.error);
    EXPECT_NE(loop.error().message().find(each.text), std::string::npos) << loop.error().message();
    EXPECT_EQ(open_descriptors(), before);
    faults.clear();
    faults.on(each.call).nth(1).fail(each.error);
    EXPECT_THROW(EventLoop(), SystemError);
    EXPECT_EQ(open_descriptors(), before);
    faults.clear();
  }
  EXPECT_TRUE(EventLoop::create());
}

TEST(ReactorThreads, F72_ALoopsDescriptorsAreCloseOnExec) {
  const auto before = open_descriptors();
  EventLoop loop;
  const SignalSet set(loop, {SIGUSR1}, [](int) {});
  int fresh = 0;
  for (const auto& [fd, target] : open_descriptors()) {
    if (before.contains(fd)) continue;
    ++fresh;
    EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC) << target;
  }
  EXPECT_EQ(fresh, 3) << "epoll, eventfd, signalfd";
}

TEST(ReactorThreads, F72_CloseIsNotRepeatedAfterEintr) {
  FaultTable faults;
  const ScopedFaults use(faults);
  faults.on(Call::close).fail(EINTR);
  const auto before = open_descriptors();
  { EventLoop loop; }
  EXPECT_EQ(faults.count(Call::close), 2u) << "epoll and eventfd, once each";
  EXPECT_EQ(open_descriptors(), before);
}

// -- F59: the end ------------------------------------------------------------------------

TEST(ReactorThreads, F59_PostsRaceWithDestructionAndNothingIsLeaked) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> made{0};
    std::atomic<int> gone{0};
    struct Token {
      std::atomic<int>& gone;
      explicit Token(std::atomic<int>& g) : gone(g) {}
      Token(const Token&) = delete;
      Token& operator=(const Token&) = delete;
      ~Token() { ++gone; }
    };
    std::thread poster;
    {
      EventLoop loop;
      // What a ConnectionRef holds: the mailbox outlives the loop.
      poster = std::thread([mailbox = internal::core_of(loop).mailbox(), &made, &gone] {
        for (;;) {
          auto token = std::make_unique<Token>(gone);
          ++made;
          if (!mailbox->post([t = std::move(token)] {})) break;
        }
      });
      run_for(loop, 1ms);
    }
    poster.join();
    EXPECT_EQ(made.load(), gone.load());
  }
}

TEST(ReactorThreads, F59_ManyThreadsStopManyTimes) {
  EventLoop loop;
  std::atomic<bool> end{false};
  std::vector<std::thread> stoppers;
  for (int i = 0; i < 4; ++i) {
    stoppers.emplace_back([&] {
      while (!end) loop.stop();
    });
  }
  for (int i = 0; i < 200; ++i) loop.run();
  end = true;
  for (auto& stopper : stoppers) stopper.join();
  loop.stop();
  loop.run();
}

// -- F60 ---------------------------------------------------------------------------------

TEST(ReactorThreadsDeathTest, F60_ATimerOfAnotherThreadIsCaughtInEveryBuild) {
  EXPECT_DEATH(
      {
        LoopPool pool(1);
        pool.loop(0).run_after(1ms, [] {});
      },
      "EventLoop::run_after called from a thread that is not the loop's; use EventLoop::post");
}

// -- F61 ---------------------------------------------------------------------------------

TEST(ReactorThreads, F61_SpuriousReadinessOfASignalfdIsHarmless) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  int told = 0;
  const SignalSet set(loop, {SIGUSR1}, [&](int) { ++told; });
  faults.on(Call::read).first(3).fail(EAGAIN);
  ::kill(::getpid(), SIGUSR1);
  EXPECT_TRUE(run_until(loop, [&] { return told == 1; }));
  EXPECT_TRUE(rests(loop, faults, 200ms));
}

// -- F62 ---------------------------------------------------------------------------------

// From each kind of callback that a loop makes: the exception comes out of run(), and what stood
// behind it still happens.
TEST(ReactorThreads, F62_EveryKindOfCallbackMayThrow) {
  struct Kind {
    const char* name;
    std::function<void(EventLoop&, Watched&, std::function<void()>)> arrange;
  };
  const std::vector<Kind> kinds{
      {"task", [](EventLoop& loop, Watched&, auto boom) { loop.post(boom); }},
      {"timer", [](EventLoop& loop, Watched&, auto boom) { loop.run_after(0ns, boom); }},
      {"repeating timer", [](EventLoop& loop, Watched&, auto boom) { loop.run_every(1ms, boom); }},
      {"handler",
       [](EventLoop&, Watched& watched, auto boom) {
         watched.handler.ready = [boom](std::uint32_t) { boom(); };
         put(watched.pair.theirs);
       }},
      {"refused interest",
       [](EventLoop&, Watched& watched, auto boom) {
         watched.handler.refused = [boom](Errno) { boom(); };
         watched.channel.set_writing(true);
       }},
  };
  for (const Kind& kind : kinds) {
    FaultTable faults;
    const ScopedFaults use(faults);
    EventLoop loop;
    Watched watched(loop);
    run_turn(loop);
    if (std::string(kind.name) == "refused interest") {
      faults.on(Call::epoll_ctl).argument(EPOLL_CTL_MOD).nth(1).fail(ENOMEM);
    }
    kind.arrange(loop, watched, [thrown = std::make_shared<bool>(false)] {
      if (!std::exchange(*thrown, true)) throw std::runtime_error("boom");
    });
    int later_task = 0;
    int later_timer = 0;
    loop.run_after(2ms, [&] { ++later_timer; });
    EXPECT_THROW(static_cast<void>(run_until(
                     loop, [] { return false; }, 1s)),
                 std::runtime_error)
        << kind.name;
    loop.post([&] { ++later_task; });
    EXPECT_TRUE(run_until(loop, [&] { return later_task == 1 && later_timer == 1; })) << kind.name;
    Watched other(loop);
    put(other.pair.theirs);
    EXPECT_TRUE(run_until(loop, [&] { return other.handler.calls > 0; })) << kind.name;
  }
}

TEST(ReactorThreadsDeathTest, F62_InAPoolThreadAnExceptionEndsTheProgramWithItsMessage) {
  EXPECT_DEATH(
      {
        LoopPool pool(1);
        pool.loop(0).post([] { throw std::runtime_error("nobody to catch it"); });
        std::this_thread::sleep_for(10s);
      },
      "nobody to catch it");
}

}  // namespace
}  // namespace weir::test
