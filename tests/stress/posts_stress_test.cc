// Posting to a loop and stopping it, from many threads.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "stress/rounds.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/testing/run_until.h"

namespace weir::test {
namespace {

constexpr std::size_t kThreads = 4;
constexpr std::uint64_t kPosts = 150;

// Counts itself when it is destroyed, once, wherever it was moved.
class Counted {
 public:
  explicit Counted(std::atomic<std::uint64_t>& destroyed) : destroyed_(&destroyed) {}
  Counted(Counted&& other) noexcept : destroyed_(std::exchange(other.destroyed_, nullptr)) {}
  Counted& operator=(Counted&&) = delete;
  ~Counted() {
    if (destroyed_ != nullptr) ++*destroyed_;
  }

 private:
  std::atomic<std::uint64_t>* destroyed_;
};

// Each task runs once, in the order of its thread, and is destroyed once, also when stop() comes at
// any moment. Some set timers, cancel them, and post again.
TEST(Stress, PostingAndStopping) {
  Rounds::run([](std::uint64_t seed) {
    std::atomic<std::uint64_t> posted{0};
    std::atomic<std::uint64_t> destroyed{0};
    std::uint64_t ran = 0;
    std::array<std::uint64_t, kThreads> next{};
    {
      EventLoop loop;
      const auto post = [&](std::size_t thread, std::uint64_t number, bool again) {
        ++posted;
        return loop.post([&, thread, number, again, counted = Counted(destroyed)] {
          EXPECT_TRUE(loop.in_loop_thread());
          EXPECT_EQ(next[thread]++, number);
          ++ran;
          if (!again) return;
          const TimerId timer = loop.run_after(std::chrono::microseconds(number), [] {});
          if (number % 2 == 0) {
            EXPECT_TRUE(loop.cancel(timer));
          }
        });
      };
      Threads threads(seed, kThreads, [&](std::size_t thread, Dice& dice) {
        for (std::uint64_t i = 0; i < kPosts; ++i) {
          EXPECT_TRUE(post(thread, i, dice.one_in(4)));
          if (dice.one_in(20)) loop.stop();
          if (dice.one_in(10)) static_cast<void>(loop.backlog() + loop.stats().tasks);
          dice.pause();
        }
      });
      // A stop() of the test ends only a turn of it.
      EXPECT_TRUE(weir::testing::run_until(
          loop, [&] { return ran == kThreads * kPosts; }, kPatience));
      threads.join();
    }
    EXPECT_EQ(destroyed, posted);
  });
}

// Tasks that are left when the loop is destroyed are destroyed on its thread, and never run.
TEST(Stress, DestroyingALoopWithTasks) {
  Rounds::run([](std::uint64_t seed) {
    std::atomic<std::uint64_t> posted{0};
    std::atomic<std::uint64_t> destroyed{0};
    std::atomic<std::uint64_t> ran{0};
    {
      EventLoop loop;
      {
        const Threads threads(seed, kThreads, [&](std::size_t, Dice& dice) {
          for (std::uint64_t i = 0; i < kPosts / 3; ++i) {
            ++posted;
            EXPECT_TRUE(loop.dispatch([&ran, counted = Counted(destroyed)] { ++ran; }));
            dice.pause();
          }
        });
        Dice dice(seed, 0);
        run_turns(loop, static_cast<int>(dice.below(20)));
      }
    }
    EXPECT_LE(ran, posted);
    EXPECT_EQ(destroyed, posted);
  });
}

}  // namespace
}  // namespace weir::test
