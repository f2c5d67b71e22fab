// A process that was stopped (SIGSTOP, a suspended machine), or a callback that blocked: the clock
// has moved on, and bytes that peers have sent meanwhile wait in the kernel. No deadline expires
// before they have been read.
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/handlers.h"
#include "support/loop_harness.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kIdle = 1s;
constexpr Duration kStopped = 10s;

// A connection as its loop sees it: a descriptor, and a deadline that every byte postpones.
class Peer final : public IoHandler, public internal::DeadlineClient {
 public:
  explicit Peer(EventLoop& loop) : loop_(loop), channel_(loop, pair.ours.get(), *this) {
    channel_.set_reading(true);
    heard_ = internal::core_of(loop).tick();
    arm();
  }
  ~Peer() { internal::core_of(loop_).clear_deadline(*this); }

  SocketPair pair;
  int heard = 0;
  bool expired = false;
  std::function<void()> on_expired = [] {};

 private:
  void arm() { internal::core_of(loop_).set_deadline(*this, heard_ + internal::ticks_of(kIdle)); }
  void on_ready(std::uint32_t) override {
    ++heard;
    heard_ = internal::core_of(loop_).tick();
    static_cast<void>(take(pair.ours));
  }
  void on_interest_refused(Errno) override {}
  void on_deadline() override {
    expired = internal::tick_reached(heard_ + internal::ticks_of(kIdle),
                                     internal::core_of(loop_).deadline_tick());
    if (expired) {
      on_expired();
    } else {
      arm();
    }
  }
  void on_reap() override {}

  EventLoop& loop_;
  Channel channel_;
  internal::Tick heard_ = 0;
};

class ReactorStopped : public ::testing::Test, public LoopHarness {
 protected:
  void make_peers(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) peers_.push_back(std::make_unique<Peer>(loop));
    run_turn(loop);
  }
  void all_send() {
    for (const auto& peer : peers_) put(peer->pair.theirs);
  }
  std::ptrdiff_t heard() const {
    return std::ranges::count_if(peers_, [](const auto& peer) { return peer->heard > 0; });
  }
  std::ptrdiff_t expired() const {
    return std::ranges::count_if(peers_, [](const auto& peer) { return peer->expired; });
  }
  void expect_all_heard_and_none_expired() {
    run_turns(loop, 8);
    EXPECT_EQ(heard(), std::ssize(peers_));
    EXPECT_EQ(expired(), 0);
    faults.advance_clock(kStopped);  // and now they are silent
    run_turns(loop, 8);
    EXPECT_EQ(expired(), std::ssize(peers_));
  }
  // The order in which a program's own timer about a peer, such as "no answer in time", and the
  // peer's answer are served. `stop` stops the process for longer than the timer takes, and lets
  // the answer arrive meanwhile.
  std::string order_behind_a_stop(const std::function<void(Watched&)>& stop) {
    std::string order;
    Watched peer(loop);
    peer.handler.ready = [&](std::uint32_t) {
      order += "answer ";
      static_cast<void>(take(peer.pair.ours));
    };
    loop.run_after(kIdle, [&] { order += "timer "; });
    run_turn(loop);
    stop(peer);
    run_turns(loop, 5);
    return order;
  }

  std::vector<std::unique_ptr<Peer>> peers_;
};

TEST_F(ReactorStopped, F15_AnInterruptedWaitEndsNobodysTime) {
  make_peers(10);
  all_send();
  faults.advance_clock(kStopped);
  faults.on(Call::epoll_pwait2).first(2).fail(EINTR);
  expect_all_heard_and_none_expired();
}

TEST_F(ReactorStopped, F15_WhoDidNotFitIntoTheBatchIsNotLate) {
  make_peers(2 * internal::EpollPoller::kMaxEventsPerTurn + 100);
  all_send();
  faults.advance_clock(kStopped);
  expect_all_heard_and_none_expired();
}

// Between the return of the wait and the reading of the clock: the batch is empty.
TEST_F(ReactorStopped, F15_AStopRightBehindTheWaitEndsNobodysTime) {
  make_peers(10);
  bool stopped = false;
  faults.forge_batch({});
  faults.edit_batches([&](std::vector<FaultTable::Event>&) {
    if (std::exchange(stopped, true)) return;
    all_send();
    faults.advance_clock(kStopped);
  });
  expect_all_heard_and_none_expired();
}

TEST_F(ReactorStopped, F64_ACallbackThatBlockedEndsNobodysTime) {
  make_peers(internal::EpollPoller::kMaxEventsPerTurn + 100);
  loop.post([&] {
    all_send();
    faults.advance_clock(kStopped);
  });
  expect_all_heard_and_none_expired();
}

TEST_F(ReactorStopped, F15_TimersComeBehindWhatArrivedBeforeThem) {
  EXPECT_EQ(order_behind_a_stop([this](Watched& peer) {
              put(peer.pair.theirs);
              faults.advance_clock(kStopped);
              faults.on(Call::epoll_pwait2).first(2).fail(EINTR);
            }),
            "answer timer ");
}

TEST_F(ReactorStopped, F15_TimersComeBehindWhatArrivedInAStopRightBehindTheWait) {
  EXPECT_EQ(order_behind_a_stop([this](Watched& peer) {
              faults.forge_batch({});
              faults.edit_batches([&, stopped = false](std::vector<FaultTable::Event>&) mutable {
                if (std::exchange(stopped, true)) return;
                put(peer.pair.theirs);
                faults.advance_clock(kStopped);
              });
            }),
            "answer timer ");
}

TEST_F(ReactorStopped, F14_TheSilentExpireThoughEveryBatchIsFull) {
  std::vector<std::unique_ptr<Watched>> busy;
  for (std::size_t i = 0; i < 3 * internal::EpollPoller::kMaxEventsPerTurn; ++i) {
    busy.push_back(std::make_unique<Watched>(loop));
    put(busy.back()->pair.theirs);  // never read: ready for ever
  }
  make_peers(10);
  faults.advance_clock(kStopped);
  run_turns(loop, 8);
  EXPECT_EQ(expired(), 10);
}

// When the wait ended with the deadline, nothing was ready at that time: no second look is needed.
TEST_F(ReactorStopped, F52_ADeadlineCostsOneWait) {
  make_peers(1);
  peers_.front()->on_expired = [&] { loop.stop(); };
  faults.advance_clock(kIdle - 50ms);
  const std::uint64_t before = faults.waits();
  loop.run();
  EXPECT_LE(faults.waits() - before, 2u) << "the wheel may come once too early";
}

}  // namespace
}  // namespace weir::test
