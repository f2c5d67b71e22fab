// EventLoop::local(): one object of a type for each loop.
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/handlers.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test {
namespace {

std::vector<std::string>* g_log = nullptr;  // of the test that runs

template <int kNumber>
struct Numbered {
  ~Numbered() {
    if (g_log != nullptr) g_log->push_back(std::to_string(kNumber));
  }
};

class LoopLocal : public ::testing::Test {
 protected:
  LoopLocal() { g_log = &log_; }
  ~LoopLocal() override { g_log = nullptr; }
  std::vector<std::string> log_;
};

struct KnowsItsLoop {
  explicit KnowsItsLoop(EventLoop& on) : loop(on) {}
  EventLoop& loop;
};

TEST_F(LoopLocal, IsOneForEachTypeAndLoop) {
  EventLoop a;
  EventLoop b;
  a.local<int>() = 1;
  b.local<int>() = 2;
  a.local<unsigned>() = 3;
  EXPECT_EQ(a.local<int>(), 1);
  EXPECT_EQ(b.local<int>(), 2);
  EXPECT_EQ(a.local<unsigned>(), 3u);
  EXPECT_EQ(&a.local<KnowsItsLoop>().loop, &a);
  EXPECT_EQ(&b.local<KnowsItsLoop>().loop, &b);
}

// Whatever its constructor needs is older, and so destroyed later.
struct NeedsAnother {
  explicit NeedsAnother(EventLoop& loop) : other(loop.local<Numbered<1>>()) {}
  ~NeedsAnother() { g_log->push_back("needs"); }
  Numbered<1>& other;
};

TEST_F(LoopLocal, GoInReverseOrderOfTheirCreation) {
  {
    EventLoop loop;
    loop.local<Numbered<2>>();
    loop.local<NeedsAnother>();
    loop.local<Numbered<3>>();
    loop.local<Numbered<2>>();
  }
  EXPECT_EQ(log_, (std::vector<std::string>{"3", "needs", "1", "2"}));
}

// A watched descriptor, a timer, and another local that it makes as it goes.
struct Busy {
  explicit Busy(EventLoop& on) : loop(on), channel(on, pair.ours.get(), handler) {
    channel.set_reading(true);
    timer = loop.run_after(std::chrono::hours(1), [] {});
  }
  ~Busy() {
    EXPECT_TRUE(loop.in_loop_thread());
    loop.cancel(timer);
    loop.run_after(std::chrono::hours(1), [kept = std::make_shared<Numbered<5>>()] {});
    EXPECT_FALSE(loop.post([] {}));
    loop.local<Numbered<4>>();
  }
  EventLoop& loop;
  SocketPair pair;
  TestHandler handler;
  Channel channel;
  TimerId timer;
};

TEST_F(LoopLocal, MayLiveOnItsLoop) {
  {
    EventLoop loop;
    loop.local<Busy>();
    run_turn(loop);
  }
  EXPECT_EQ(log_, (std::vector<std::string>{"5", "4"}));
}

TEST_F(LoopLocal, ThatCannotBeMadeLeavesNothing) {
  struct Refuses {
    Refuses() { throw std::runtime_error("no"); }
  };
  EventLoop loop;
  EXPECT_THROW(loop.local<Refuses>(), std::runtime_error);
  EXPECT_THROW(loop.local<Refuses>(), std::runtime_error);
}

TEST(LoopLocalDeathTest, F60_IsTheLoopsThreadsOnly) {
  EventLoop loop;
  EXPECT_DEATH(on_other_thread([&] { loop.local<int>(); }),
               "EventLoop::local called from a thread that is not the loop's");
}

}  // namespace
}  // namespace weir::test
