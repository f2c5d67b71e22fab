// Shards, the skeleton of the servers: starting with roll-back, rounds over all loops, ending, and
// destruction. With the home loop alone (0) and with loops of a pool (3).
#include "weir/net/reactor/shards.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "support/loops.h"

namespace weir::test {
namespace {

using internal::ShardOptions;
using Call = internal::ShardsBase::Call;

struct Part : internal::Shard {
  explicit Part(EventLoop& on) : Shard(on) { ++alive; }
  ~Part() { --alive; }
  void release() {
    EXPECT_TRUE(loop.in_loop_thread());
    ++released_parts;
    held.reset();
  }
  std::shared_ptr<int> held;  // made and destroyed on the loop
  static inline std::atomic<int> alive = 0;
  static inline std::atomic<int> released_parts = 0;
};

// A server that has nothing but its skeleton.
struct Skeleton {
  struct Impl : internal::Kept {
    Impl(EventLoop& loop, const ShardOptions& options) : shards_(loop, options) {}
    void cancel_timers() {}
    void release() {}
    internal::Shards<Part> shards_;
  };

  Skeleton(EventLoop& loop, std::size_t threads)
      : impl(std::make_shared<Impl>(loop, ShardOptions{.server = "Test", .threads = threads})) {}
  ~Skeleton() { internal::destroy_server(impl); }
  internal::Shards<Part>& shards() const { return impl->shards_; }
  Result<void> start() const {
    return shards().start([](Part&) -> Result<void> { return {}; });
  }

  std::shared_ptr<Impl> impl;
};

struct ShardsOn : testing::TestWithParam<std::size_t> {
  ShardsOn() : expected(std::max<std::size_t>(GetParam(), 1)) {
    Part::alive = 0;
    Part::released_parts = 0;
  }
  ~ShardsOn() override {
    run_turn(loop);  // which keeps a server to its end
    EXPECT_EQ(Part::alive, 0);
  }

  EventLoop loop;
  const std::size_t expected;  // shards
};

TEST_P(ShardsOn, EachIsMadeAndReleasedOnItsLoop) {
  {
    const Skeleton server(loop, GetParam());
    std::atomic<std::size_t> made = 0;
    const auto make = [&](Part& part) -> Result<void> {
      EXPECT_TRUE(part.loop.in_loop_thread());
      ++made;
      return {};
    };
    EXPECT_FALSE(server.shards().started());
    ASSERT_TRUE(server.shards().start(make));
    ASSERT_TRUE(server.shards().start(make)) << "once";
    EXPECT_EQ(made, expected);
    EXPECT_EQ(server.shards().size(), expected);
    EXPECT_EQ(server.shards().pooled(), GetParam() > 0);
  }
  EXPECT_EQ(static_cast<std::size_t>(Part::released_parts), expected);
}

TEST_P(ShardsOn, OneThatCannotBeMadeTakesAllBack) {
  const Skeleton server(loop, GetParam());
  auto witness = std::make_shared<int>(7);
  // The last one.
  std::atomic<std::size_t> made = 0;
  for (const bool throws : {true, false}) {
    made = 0;
    const auto make = [&](Part& part) -> Result<void> {
      part.held = witness;
      if (++made < expected) return {};
      if (throws) throw std::runtime_error("not today");
      return std::unexpected(Error("not today"));
    };
    if (throws) {
      EXPECT_THROW(static_cast<void>(server.shards().start(make)), std::runtime_error);
    } else {
      EXPECT_FALSE(server.shards().start(make));
    }
    EXPECT_EQ(made, expected);
    EXPECT_FALSE(server.shards().started());
    EXPECT_EQ(Part::alive, 0);
    EXPECT_EQ(witness.use_count(), 1);
  }
  EXPECT_TRUE(server.start()) << "as if nothing had happened";
}

TEST_P(ShardsOn, ARoundIsReportedOnceWhenTheLastPartIsOver) {
  const Skeleton server(loop, GetParam());
  ASSERT_TRUE(server.start());
  int reports = 0;
  std::atomic<std::size_t> begun = 0;
  std::vector<Call> overs(expected);
  server.shards().on_each(
      [&](Part& part, Call over) {
        EXPECT_TRUE(part.loop.in_loop_thread());
        overs[begun++] = std::move(over);
      },
      [&] {
        EXPECT_TRUE(loop.in_loop_thread());
        ++reports;
      });
  ASSERT_TRUE(run_until(loop, [&] { return begun == expected; }));
  // All parts must have left their tasks, which write into `overs`, before it is read.
  std::atomic<std::size_t> left = 0;
  server.shards().post_each([&](Part&) { ++left; });
  ASSERT_TRUE(run_until(loop, [&] { return left == expected; }));
  for (Call& over : overs) {
    run_turn(loop);
    EXPECT_EQ(reports, 0);
    on_other_thread([&] { over(); });
  }
  ASSERT_TRUE(run_until(loop, [&] { return reports == 1; }));
  run_turn(loop);
  EXPECT_EQ(reports, 1);
}

TEST_P(ShardsOn, ARoundWithoutShardsIsOverAtOnceButNotInsideTheCall) {
  const Skeleton server(loop, GetParam());
  int reports = 0;
  server.shards().on_each([](Part&, Call over) { over(); }, [&] { ++reports; });
  server.shards().on_each([](Part&, Call over) { over(); }, {});
  EXPECT_EQ(reports, 0);
  ASSERT_TRUE(run_until(loop, [&] { return reports == 1; }));
}

TEST_P(ShardsOn, F62_EachDoneIsCalledOnceWhateverTheOthersThrow) {
  const Skeleton server(loop, GetParam());
  std::vector<int> called;
  for (int i = 0; i < 4; ++i) {
    server.shards().add_done([&called, i] {
      called.push_back(i);
      if (i % 2 == 0) throw std::runtime_error("done");
    });
  }
  server.shards().add_done({});
  server.shards().post_home([&] { server.shards().call_done(); });
  int thrown = 0;
  for (int i = 0; i < 10 && called.size() < 4; ++i) {
    try {
      run_turn(loop);
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  EXPECT_EQ(thrown, 2);
  EXPECT_EQ(called, (std::vector{0, 1, 2, 3}));
}

TEST_P(ShardsOn, NothingIsCalledOnceTheServerIsDestroyed) {
  std::optional<Skeleton> server(std::in_place, loop, GetParam());
  ASSERT_TRUE(server->start());
  int calls = 0;
  const auto count = [&] { ++calls; };
  auto later = server->shards().poster_home(count);
  auto guarded = server->shards().unless_destroyed(count);
  server->shards().post_home(count);
  server->shards().on_each([](Part&, Call over) { over(); }, count);
  server->shards().add_done([&] {
    server.reset();
    calls += 100;  // the one that destroys it comes to its end
  });
  server->shards().add_done(count);
  server->shards().call_done();
  EXPECT_EQ(calls, 100);
  later();
  guarded();
  run_turn(loop);
  run_turn(loop);
  EXPECT_EQ(calls, 100);
}

TEST_P(ShardsOn, DispatchHomeCallsAtOnceOnlyAtHome) {
  const Skeleton server(loop, GetParam());
  int calls = 0;
  server.shards().dispatch_home([&] { ++calls; });
  EXPECT_EQ(calls, 1);
  on_other_thread([&] { server.shards().dispatch_home([&] { ++calls; }); });
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(run_until(loop, [&] { return calls == 2; }));
}

INSTANTIATE_TEST_SUITE_P(Loops, ShardsOn, testing::Values(0, 3));

TEST(ShardsDeathTest, AreMisused) {
  EventLoop loop;
  LoopPool pool(1);
  EXPECT_DEATH(internal::ShardsBase(loop, {.server = "Test", .threads = 1, .pool = &pool}),
               "Test with both a pool and threads");
  const Skeleton server(loop, 0);
  EXPECT_DEATH(static_cast<void>(server.shards().loop(0)), "Test::loop\\(0\\) of 0");
}

}  // namespace
}  // namespace weir::test
