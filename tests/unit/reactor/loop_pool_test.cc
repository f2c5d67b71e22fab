#include "weir/net/reactor/loop_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "weir/net/reactor/internal/run_on.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// Runs `fn` on the loop and gives back what it returned.
template <typename Fn>
auto ask(EventLoop& loop, Fn fn) {
  std::promise<decltype(fn())> promise;
  auto answer = promise.get_future();
  EXPECT_TRUE(loop.post([&] { promise.set_value(fn()); }));
  return answer.get();
}

TEST(LoopPool, ThreadsAreNamedAndBlockEverySignal) {
  LoopPool pool(3);
  ASSERT_EQ(pool.size(), 3u);
  std::set<std::thread::id> ids;
  for (std::size_t i = 0; i < pool.size(); ++i) {
    ids.insert(ask(pool.loop(i), [] { return std::this_thread::get_id(); }));
    const auto name = ask(pool.loop(i), [] {
      std::array<char, 16> text{};
      pthread_getname_np(pthread_self(), text.data(), text.size());
      return std::string(text.data());
    });
    EXPECT_EQ(name, "weir-loop-" + std::to_string(i));
    const bool all_blocked = ask(pool.loop(i), [] {
      sigset_t set;
      pthread_sigmask(SIG_BLOCK, nullptr, &set);
      return sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGINT) == 1 &&
             sigismember(&set, SIGUSR1) == 1 && sigismember(&set, SIGCHLD) == 1;
    });
    EXPECT_TRUE(all_blocked);
  }
  EXPECT_EQ(ids.size(), 3u);
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGTERM), 0) << "the caller's mask is as before";
}

TEST(LoopPool, NextGoesRound) {
  LoopPool pool(3);
  std::vector<EventLoop*> order;
  for (int i = 0; i < 6; ++i) order.push_back(&pool.next());
  EXPECT_EQ(order[0], order[3]);
  EXPECT_EQ(order[1], order[4]);
  EXPECT_EQ(order[2], order[5]);
  EXPECT_EQ(std::set(order.begin(), order.end()).size(), 3u);
}

TEST(LoopPool, AnEmptyPoolIsAllowed) {
  LoopPool pool(0);
  EXPECT_EQ(pool.size(), 0u);
  pool.stop();
}

TEST(LoopPool, StopTwiceAndDestroy) {
  LoopPool pool(2);
  pool.stop();
  pool.stop();
  EXPECT_EQ(pool.size(), 0u);
}

TEST(LoopPool, F59_StartAndStopManyTimes) {
  for (int i = 0; i < 100; ++i) LoopPool pool(2);
}

// stop() is public and for any thread: on a pool's loop it must not take the loop from the pool.
TEST(LoopPool, F59_ALoopThatSomebodyStoppedGoesOn) {
  LoopPool pool(1);
  EventLoop& loop = pool.loop(0);
  loop.stop();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(ask(loop,
                  [&] {
                    loop.stop();
                    return 7;
                  }),
              7);
  }
}

// While one thread of a pool ends, the others may still post to its loop.
TEST(LoopPool, F59_LoopsMayPostToEachOtherUntilAllHaveStopped) {
  for (int round = 0; round < 50; ++round) {
    LoopPool pool(2);
    std::atomic<int> hops{0};
    std::array<EventLoop*, 2> loops{&pool.loop(0), &pool.loop(1)};
    struct Hop {
      std::array<EventLoop*, 2>& loops;
      std::atomic<int>& hops;
      std::size_t at;
      void operator()() const {
        ++hops;
        loops[1 - at]->post(Hop{loops, hops, 1 - at});
      }
    };
    loops[0]->post(Hop{loops, hops, 0});
    loops[1]->post(Hop{loops, hops, 1});
    EXPECT_TRUE(wait_until([&] { return hops > 20; }));
    pool.stop();
  }
}

// Whoever waited for it would keep its own thread from ending, and so the pool from stopping.
TEST(LoopPool, F59_NobodyWaitsForALoopThatHasLeft) {
  for (int round = 0; round < 50; ++round) {
    LoopPool pool(2);
    std::atomic<int> ran{0};
    std::atomic<bool> refused{false};
    std::function<void()> again = [&] {
      refused = !internal::try_run_on(pool.loop(0), [&] { ++ran; });
      if (!refused) pool.loop(1).post([&] { again(); });
    };
    pool.loop(1).post([&] { again(); });
    EXPECT_TRUE(wait_until([&] { return ran > 20; }));
    pool.stop();
  }
}

TEST(LoopPool, F59_APostThatWillNotRunSaysSo) {
  LoopPool pool(2);
  std::promise<void> begun;
  std::promise<void> stopping;
  std::shared_future<void> go = stopping.get_future().share();
  std::atomic<bool> told{false};
  pool.loop(1).post([&] {
    begun.set_value();
    go.wait();
    told = wait_until([&] { return !pool.loop(0).post([] {}); });
    EXPECT_THROW(internal::run_on(pool.loop(0), [] { FAIL(); }), SystemError);
  });
  begun.get_future().wait();  // a loop that is stopped before it runs the task never does
  std::thread stopper([&] {
    stopping.set_value();
    pool.stop();
  });
  stopper.join();
  EXPECT_TRUE(told);
}

TEST(LoopPool, F57_FailingToMakeALoopIsAnErrorAndLeavesNothing) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const auto before = open_descriptors();
  for (const std::uint64_t which : {1u, 2u, 3u}) {
    faults.on(Call::eventfd).nth(which).fail(EMFILE);
    const auto pool = LoopPool::create(3);
    ASSERT_FALSE(pool);
    EXPECT_EQ(pool.error().code(), EMFILE);
    EXPECT_NE(pool.error().message().find("eventfd"), std::string::npos) << pool.error().message();
    faults.clear();
  }
  faults.on(Call::epoll_create1).nth(2).fail(ENFILE);
  const auto pool = LoopPool::create(3);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code(), ENFILE);
  EXPECT_EQ(open_descriptors(), before);
  faults.clear();
  EXPECT_TRUE(LoopPool::create(3));
}

TEST(LoopPool, F63_WithoutMemoryForALoopItIsAnErrorAndLeavesNothing) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const auto before = open_descriptors();
  faults.on(Call::eventfd).nth(2).hook([] { throw std::bad_alloc(); });  // on the loop's own thread
  const auto pool = LoopPool::create(3);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code(), ENOMEM);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(LoopPool, F57_WithoutThreadsItIsAnErrorAndLeavesNothing) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const auto before = open_descriptors();
  for (const unsigned nth : {1U, 3U, 4U}) {
    faults.clear();
    faults.on(Call::pthread_create).nth(nth).fail(EAGAIN);
    const auto pool = LoopPool::create(4);
    ASSERT_FALSE(pool);
    EXPECT_EQ(pool.error().code(), EAGAIN);
    EXPECT_EQ(pool.error().message(),
              "start loop thread " + std::to_string(nth) +
                  " of 4: pthread_create: Resource temporarily unavailable");
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(threads_of_weir(), 0);
  }
  EXPECT_TRUE(LoopPool::create(4));
}

TEST(LoopPool, ThreadsInheritTheTableOfTheOneThatStartsThem) {
  FaultTable faults;
  const ScopedFaults use(faults);
  LoopPool pool(2);
  EXPECT_EQ(faults.count(Call::epoll_create1), 2u);
  EXPECT_TRUE(wait_until([&] { return faults.waits() >= 2; }));
  pool.stop();
}

TEST(LoopPoolDeathTest, CannotBeStoppedFromItsOwnThread) {
  EXPECT_DEATH(
      {
        LoopPool pool(1);
        pool.loop(0).post([&] { pool.stop(); });
        pool.loop(0).post([] {});
        std::this_thread::sleep_for(10s);
      },
      "LoopPool stopped or destroyed from one of its own threads");
}

TEST(LoopPoolDeathTest, IndexesAreChecked) {
  EXPECT_DEATH(
      {
        LoopPool pool(1);
        pool.loop(1);
      },
      "LoopPool::loop\\(1\\) of a pool of 1");
  EXPECT_DEATH(
      {
        LoopPool pool(0);
        pool.next();
      },
      "LoopPool::next on an empty pool");
}

}  // namespace
}  // namespace weir::test
