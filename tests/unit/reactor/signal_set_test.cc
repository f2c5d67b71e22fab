#include "weir/net/reactor/signal_set.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/loop_harness.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/loop_pool.h"

namespace weir::test {
namespace {

bool blocked(int signal) {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return sigismember(&set, signal) == 1;
}

TEST(AllSignalsBlocked, HoldsInItsScopeAndForThreadsStartedInIt) {
  bool in_thread = false;
  {
    const AllSignalsBlocked signals;
    EXPECT_TRUE(blocked(SIGTERM));
    std::thread([&] { in_thread = blocked(SIGTERM) && blocked(SIGUSR1); }).join();
  }
  EXPECT_TRUE(in_thread);
  EXPECT_FALSE(blocked(SIGTERM));
}

TEST(SignalSet, F16_SignalsAreReportedAfterEpollHasRefusedThem) {
  const ExpectLog refused("watch signals: epoll_ctl");
  LoopHarness harness;
  harness.turns(1);  // the loop's own descriptor is watched
  harness.faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).first(2).fail(ENOMEM);
  int reported = 0;
  const SignalSet set(harness.loop, {SIGUSR1}, [&](int) { ++reported; });
  harness.turns(1);
  ::kill(::getpid(), SIGUSR1);
  for (int i = 0; i < 3; ++i) pass(harness, std::chrono::seconds(1));
  EXPECT_EQ(reported, 1);
}

TEST(SignalSet, TellsEachSignalOnTheLoopAndUnblocksInTheEnd) {
  EventLoop loop;
  {
    std::vector<int> told;
    const SignalSet set(loop, {SIGUSR1, SIGUSR2}, [&](int signal) { told.push_back(signal); });
    EXPECT_TRUE(blocked(SIGUSR1));
    ::kill(::getpid(), SIGUSR1);
    ::kill(::getpid(), SIGUSR2);
    EXPECT_TRUE(told.empty()) << "nothing runs in a signal handler";
    EXPECT_TRUE(run_until(loop, [&] { return told.size() == 2; }));
    EXPECT_EQ(told, (std::vector{SIGUSR1, SIGUSR2}));
  }
  EXPECT_FALSE(blocked(SIGUSR1));
  EXPECT_FALSE(blocked(SIGUSR2));
}

TEST(SignalSet, WhatWasBlockedBeforeStaysBlocked) {
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  EventLoop loop;
  {
    const SignalSet set(loop, {SIGUSR1, SIGUSR2}, [](int) {});
  }
  EXPECT_TRUE(blocked(SIGUSR1));
  EXPECT_FALSE(blocked(SIGUSR2));
  pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr);
}

TEST(SignalSet, F61_AStormIsToldWithoutLossOfTheLast) {
  EventLoop loop;
  int plain = 0;
  int queued = 0;
  const int real_time = SIGRTMIN + 1;
  const SignalSet set(loop, {SIGUSR1, real_time},
                      [&](int signal) { ++(signal == SIGUSR1 ? plain : queued); });
  constexpr int kStorm = 100'000;
  int sent_queued = 0;
  std::thread storm([&] {
    for (int i = 0; i < kStorm; ++i) {
      ::kill(::getpid(), SIGUSR1);
      // Real-time signals queue up to a limit; one in a hundred stays below it.
      if (i % 100 == 0 && ::sigqueue(::getpid(), real_time, sigval{}) == 0) ++sent_queued;
    }
  });
  EXPECT_TRUE(run_until(
      loop, [&] { return queued == kStorm / 100; }, std::chrono::seconds(30)));
  storm.join();
  const int before = plain;
  ::kill(::getpid(), SIGUSR1);
  EXPECT_TRUE(run_until(loop, [&] { return plain > before; }));
  EXPECT_EQ(queued, sent_queued);
  EXPECT_GT(plain, 0);
}

TEST(SignalSet, F61_ChildrenThatEndTogetherAreAllFound) {
  EventLoop loop;
  int ended = 0;
  const SignalSet set(loop, {SIGCHLD}, [&](int) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) ++ended;  // SIGCHLD coalesces
  });
  constexpr int kChildren = 20;
  for (int i = 0; i < kChildren; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(0);
  }
  EXPECT_TRUE(run_until(loop, [&] { return ended == kChildren; }));
}

TEST(SignalSet, F61_MayBeDestroyedInItsOwnCallback) {
  EventLoop loop;
  int told = 0;
  std::unique_ptr<SignalSet> set;
  auto kept = std::make_shared<int>(0);
  set = std::make_unique<SignalSet>(loop, std::initializer_list<int>{SIGRTMIN + 1}, [&, kept](int) {
    ++told;
    set.reset();
    ++*kept;  // the captures live until it returns
  });
  // One signal only: after the set went, another would end the process.
  ::kill(::getpid(), SIGRTMIN + 1);
  EXPECT_TRUE(run_until(loop, [&] { return told == 1; }));
  EXPECT_EQ(set, nullptr);
  EXPECT_EQ(*kept, 1);
  EXPECT_EQ(kept.use_count(), 1);
}

TEST(SignalSet, F62_AnExceptionOfTheCallbackLeavesRunAndTheSetLivesOn) {
  EventLoop loop;
  int told = 0;
  const SignalSet set(loop, {SIGUSR1}, [&](int) {
    if (++told == 1) throw std::runtime_error("signal");
  });
  ::kill(::getpid(), SIGUSR1);
  EXPECT_THROW(static_cast<void>(run_until(loop, [&] { return told == 2; })), std::runtime_error);
  ::kill(::getpid(), SIGUSR1);
  EXPECT_TRUE(run_until(loop, [&] { return told == 2; }));
}

// A pool's threads never take a signal away from the loop that watches it.
TEST(SignalSet, F61_PoolThreadsDoNotTakeSignals) {
  EventLoop loop;
  LoopPool pool(2);
  int told = 0;
  const SignalSet set(loop, {SIGUSR1}, [&](int) { ++told; });
  for (int i = 1; i <= 100; ++i) {
    ::kill(::getpid(), SIGUSR1);
    ASSERT_TRUE(run_until(loop, [&] { return told == i; }));
  }
}

// -- children -------------------------------------------------------------------------------------

// The signals that a program blocks which this thread starts: bit n - 1 is signal n.
std::uint64_t blocked_in(const std::function<pid_t(int output)>& start) {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t child = start(writing.get());
  EXPECT_GT(child, 0);
  writing.reset();
  std::string text;
  std::array<char, 64> block{};
  for (ssize_t got = 0; (got = ::read(reading.get(), block.data(), block.size())) > 0;) {
    text.append(block.data(), static_cast<std::size_t>(got));
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(text.starts_with("SigBlk:\t")) << text;
  return std::strtoull(text.c_str() + 8, nullptr, 16);
}

// No shell: some clear their mask when they start.
constexpr std::array<const char*, 4> kShowMask = {"/bin/grep", "SigBlk", "/proc/self/status",
                                                  nullptr};
char* const* show_mask() { return const_cast<char* const*>(kShowMask.data()); }

std::uint64_t blocked_after_fork() {
  return blocked_in([](int output) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(output, 1);
      ::execv(kShowMask[0], show_mask());
      ::_exit(1);
    }
    return child;
  });
}

std::uint64_t blocked_after_spawn() {
  return blocked_in([](int output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawnattr_init(&attributes);
    const sigset_t mask = signal_mask_for_children();
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t child = -1;
    EXPECT_EQ(::posix_spawn(&child, kShowMask[0], &actions, &attributes, show_mask(), environ), 0);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return child;
  });
}

constexpr std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

TEST(SignalSet, F61_ProgramsStartedFromHandlersBlockNoMoreThanTheProgram) {
  sigset_t usr2;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr2, nullptr);  // the program's own wish
  {
    EventLoop loop;
    const SignalSet set(loop, {SIGINT, SIGTERM, SIGUSR2}, [](int) {});
    EXPECT_EQ(blocked_after_fork(), bit(SIGUSR2));
    EXPECT_EQ(blocked_after_spawn(), bit(SIGUSR2));
    LoopPool pool(1);
    std::promise<std::pair<std::uint64_t, std::uint64_t>> seen;
    pool.loop(0).post([&] { seen.set_value({blocked_after_fork(), blocked_after_spawn()}); });
    EXPECT_EQ(seen.get_future().get(), std::pair(bit(SIGUSR2), bit(SIGUSR2)));
    EXPECT_TRUE(blocked(SIGTERM)) << "here they stay blocked";
  }
  pthread_sigmask(SIG_UNBLOCK, &usr2, nullptr);
  EXPECT_EQ(blocked_after_fork(), 0u);
  const AllSignalsBlocked signals;
  EXPECT_EQ(blocked_after_fork(), 0u);
}

TEST(SignalSet, F57_ARefusedSignalfdIsAnErrorAndLeavesTheMaskAlone) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  for (const int error : {EMFILE, ENFILE, ENOMEM, ENODEV}) {
    faults.on(Call::signalfd).nth(1).fail(error);
    EXPECT_THROW(SignalSet(loop, {SIGUSR1}, [](int) {}), SystemError);
    EXPECT_FALSE(blocked(SIGUSR1));
  }
}

TEST(SignalSetDeathTest, AnUnknownSignalIsTheCallersBug) {
  EXPECT_DEATH(
      {
        EventLoop loop;
        const SignalSet set(loop, {4711}, [](int) {});
      },
      "SignalSet with an unknown signal number 4711");
}

}  // namespace
}  // namespace weir::test
