// EventLoop::turn(), poll_fd() and max_wait(): a loop that somebody else drives.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/handlers.h"
#include "support/in_child.h"
#include "support/loops.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

bool readable(int fd, Duration at_most = Duration::zero()) {
  pollfd item{.fd = fd, .events = POLLIN, .revents = 0};
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(at_most, 5s));
  return ::poll(&item, 1, static_cast<int>(wait.count())) == 1;
}

// A host: polls until the time that the loop gives it, then calls turn(). Counts the polls.
class Host {
 public:
  explicit Host(EventLoop& loop) : loop_(loop), fd_(loop.poll_fd()) {}

  [[nodiscard]] bool run_until(const std::function<bool()>& done) {
    const TimePoint end = Clock::now() + kDeadline;
    while (!done()) {
      if (Clock::now() >= end) return false;
      poll_once();
    }
    return true;
  }
  void poll_once() {
    ++polls;
    readable(fd_, loop_.max_wait());
    stopped = !loop_.turn(Duration::zero()) || stopped;
  }

  int polls = 0;
  bool stopped = false;

 private:
  EventLoop& loop_;
  const int fd_;
};

TEST(Turn, ServesWhatIsThereAndDoesNotSleep) {
  EventLoop loop;
  Watched watched(loop);
  put(watched.pair.theirs);
  std::string log;
  watched.handler.ready = [&](std::uint32_t) { log += take(watched.pair.ours); };
  loop.post([&] { log += " task"; });
  loop.run_at(TimePoint::min(), [&] { log += " timer"; });
  EXPECT_TRUE(loop.turn(1h));
  EXPECT_EQ(log, "x timer task");
  const TimePoint before = Clock::now();
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_TRUE(loop.turn(-1h));
  EXPECT_LT(Clock::now() - before, 1s);
  EXPECT_EQ(loop.stats().turns, 3u);
}

TEST(Turn, SleepsNoLongerThanItMay) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  std::vector<Duration> waits;
  const auto wait_of = [&](Duration max_wait) {
    const TimePoint before = Clock::now();
    EXPECT_TRUE(loop.turn(max_wait));
    return Clock::now() - before;
  };
  EXPECT_GE(wait_of(20ms), 20ms);
  bool ran = false;
  loop.run_after(20ms, [&] { ran = true; });
  const TimePoint end = Clock::now() + kDeadline;
  while (!ran && Clock::now() < end) wait_of(1h);
  EXPECT_TRUE(ran) << "the timer ends the sleep";
  EXPECT_LE(loop.stats().turns, 4u);
}

TEST(Turn, SaysOnceThatItWasStopped) {
  EventLoop loop;
  loop.stop();
  EXPECT_EQ(loop.max_wait(), Duration::zero());
  EXPECT_FALSE(loop.turn(1h)) << "stopped before";
  EXPECT_TRUE(loop.turn(Duration::zero())) << "taken back";
  loop.post([&] { loop.stop(); });
  EXPECT_FALSE(loop.turn(1h)) << "stopped in it";
  int turns = 0;
  loop.run_every(1ms, [&] {
    if (++turns == 3) loop.stop();
  });
  while (loop.turn(Duration::max())) {
  }
  EXPECT_EQ(turns, 3);
}

TEST(Turn, AHostSeesWhatIsReady) {
  EventLoop loop;
  Host host(loop);
  Watched watched(loop);
  EXPECT_EQ(loop.max_wait(), Duration::zero()) << "its interest is not known to the kernel yet";
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_EQ(loop.max_wait(), Duration::max());
  EXPECT_FALSE(readable(loop.poll_fd()));
  put(watched.pair.theirs);
  EXPECT_TRUE(readable(loop.poll_fd()));
  EXPECT_TRUE(readable(loop.poll_fd())) << "until it is served";
  watched.handler.ready = [&](std::uint32_t) { static_cast<void>(take(watched.pair.ours)); };
  host.poll_once();
  EXPECT_EQ(watched.handler.calls, 1);
  EXPECT_FALSE(readable(loop.poll_fd()));
}

TEST(Turn, WhatATurnWantsIsCommittedInIt) {
  EventLoop loop;
  Watched watched(loop);
  put(watched.pair.theirs);
  watched.handler.ready = [&](std::uint32_t events) {
    if (events & EPOLLIN) {
      static_cast<void>(take(watched.pair.ours));
      watched.channel.set_writing(true);
    } else {
      watched.channel.set_writing(false);
    }
  };
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_EQ(watched.handler.calls, 1);
  EXPECT_EQ(loop.max_wait(), Duration::max()) << "a turn more would be one for nothing";
  EXPECT_TRUE(readable(loop.poll_fd())) << "it can be written to";
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_EQ(watched.handler.calls, 2);
  EXPECT_EQ(loop.max_wait(), Duration::max());
  EXPECT_FALSE(readable(loop.poll_fd()));
}

TEST(Turn, TheWaitEndsWithTheNextTimer) {
  EventLoop loop;
  EXPECT_EQ(loop.max_wait(), Duration::max());
  const TimerId later = loop.run_after(1h, [] {});
  EXPECT_GT(loop.max_wait(), 59min);
  EXPECT_LE(loop.max_wait(), 1h);
  loop.run_at(TimePoint::min(), [] {});
  EXPECT_EQ(loop.max_wait(), Duration::zero());
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_GT(loop.max_wait(), 59min);
  loop.cancel(later);
  EXPECT_EQ(loop.max_wait(), Duration::max());
}

TEST(Turn, APostEndsTheWait) {
  EventLoop loop;
  Host host(loop);
  int ran = 0;
  loop.post([&] { ++ran; });
  EXPECT_EQ(loop.max_wait(), Duration::zero());
  host.poll_once();
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(loop.max_wait(), Duration::max());
  on_other_thread([&] { loop.post([&] { ++ran; }); });
  EXPECT_TRUE(readable(loop.poll_fd()));
  host.poll_once();
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(loop.max_wait(), Duration::max());
  EXPECT_FALSE(readable(loop.poll_fd()));
  on_other_thread([&] { loop.stop(); });
  EXPECT_TRUE(readable(loop.poll_fd()));
  host.poll_once();
  EXPECT_TRUE(host.stopped);
}

TEST(Turn, F56_NoPostOfAnotherThreadIsLost) {
  EventLoop loop;
  Host host(loop);
  constexpr int kPosts = 20'000;
  int ran = 0;
  std::thread poster([&] {
    for (int i = 0; i < kPosts; ++i) loop.post([&] { ++ran; });
  });
  EXPECT_TRUE(host.run_until([&] { return ran == kPosts; }));
  poster.join();
}

TEST(Turn, AnIdleHostSleeps) {
  EventLoop loop;
  Watched watched(loop);
  Host host(loop);
  host.poll_once();
  const std::uint64_t turns = loop.stats().turns;
  int ticks = 0;
  loop.run_every(10ms, [&] { ++ticks; });
  host.polls = 0;
  EXPECT_TRUE(host.run_until([&] { return ticks == 10; }));
  EXPECT_LE(host.polls, 2 * 10 + 2) << "one a timer, and some that come early by a rounding";
  EXPECT_LE(loop.stats().turns - turns, 2u * 10 + 2);
  EXPECT_EQ(loop.stats().interest_commits, 2u);
}

TEST(Turn, TheTimeOfTheHostIsNotBusy) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EXPECT_TRUE(loop.turn(Duration::zero()));
  faults.advance_clock(1h);
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_LT(loop.stats().busy, 1min);
  EXPECT_LT(loop.stats().turn_time(100), 1min);
  EXPECT_GT(loop.stats().turn_time(100), Duration::zero()) << "each is counted";
}

TEST(Turn, WhatThrowsIsGoneOnWithInTheNext) {
  EventLoop loop;
  Host host(loop);
  std::string log;
  loop.post([] { throw std::runtime_error("task"); });
  loop.post([&] { log += "second"; });
  EXPECT_THROW(loop.turn(Duration::zero()), std::runtime_error);
  EXPECT_TRUE(loop.in_loop_thread());
  EXPECT_EQ(loop.max_wait(), Duration::zero());
  host.poll_once();
  EXPECT_EQ(log, "second");
  EXPECT_EQ(loop.max_wait(), Duration::max());
}

// A registration that outlives its channel makes the loop change its epoll set.
TEST(Turn, TheDescriptorStaysWhenTheEpollSetIsReplaced) {
  const ExpectLog log("a closed descriptor was still in epoll");
  EventLoop loop;
  Host host(loop);
  const int fd = loop.poll_fd();
  Watched watched(loop);
  Fd copy;
  Fd theirs;
  {
    SocketPair pair;
    TestHandler handler;
    Channel channel(loop, pair.ours.get(), handler);
    channel.set_reading(true);
    host.poll_once();
    copy.reset(::fcntl(pair.ours.get(), F_DUPFD_CLOEXEC, 0));
    pair.ours.reset();  // too early
    theirs = std::move(pair.theirs);
  }
  put(theirs);
  EXPECT_TRUE(readable(fd));
  EXPECT_TRUE(host.run_until([&] { return loop.stats().unknown_events > 0; }));
  host.poll_once();
  EXPECT_EQ(loop.poll_fd(), fd);
  EXPECT_FALSE(readable(fd)) << "the old set has gone";
  EXPECT_EQ(loop.max_wait(), Duration::max());
  put(watched.pair.theirs);
  EXPECT_TRUE(readable(fd)) << "of the new set";
}

TEST(Turn, ADescriptorThatIsRefusedCostsNothing) {
  EventLoop loop;
  {
    FaultTable faults;
    const ScopedFaults use(faults);
    faults.on(Call::epoll_create1).nth(1).fail(EMFILE);
    EXPECT_THROW(loop.poll_fd(), SystemError);
    faults.on(Call::epoll_ctl).nth(1).fail(ENOSPC);
    EXPECT_THROW(loop.poll_fd(), SystemError);
  }
  EXPECT_TRUE(loop.turn(Duration::zero()));
  EXPECT_FALSE(readable(loop.poll_fd()));
}

TEST(TurnDeathTest, IsNotForTheInsideOfATurnOrOfAFork) {
  EventLoop loop({.stall_threshold = {}});
  loop.post([&] { loop.turn(Duration::zero()); });
  EXPECT_DEATH(loop.turn(Duration::zero()), "EventLoop::turn called from inside EventLoop::run");
  EXPECT_DEATH(on_other_thread([&] { loop.turn(Duration::zero()); }),
               "EventLoop::turn called from a thread");
  EventLoop other;
  EXPECT_TRUE(in_child(
      [&] { EXPECT_DEATH(other.turn(Duration::zero()), "EventLoop::turn in a child of fork"); }));
}

}  // namespace
}  // namespace weir::test
