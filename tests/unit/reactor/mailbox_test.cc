#include "weir/net/reactor/internal/mailbox.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/internal/waker.h"

namespace weir::test {
namespace {

using internal::Mailbox;

bool readable(int fd) {
  pollfd item{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&item, 1, 0) == 1;
}

TEST(Waker, WakesOnceForManyAndDrains) {
  auto waker = internal::Waker::create();
  ASSERT_TRUE(waker);
  EXPECT_FALSE(readable(waker->fd()));
  for (int i = 0; i < 3; ++i) waker->wake();
  EXPECT_TRUE(readable(waker->fd()));
  waker->drain();
  EXPECT_FALSE(readable(waker->fd()));
  waker->drain();
}

TEST(MailboxTest, KnowsItsThreadAndItsEnd) {
  EventLoop loop;
  const auto mailbox =
      std::make_shared<Mailbox>(internal::core_of(loop), std::move(*internal::Waker::create()));
  EXPECT_TRUE(mailbox->in_loop_thread());
  EXPECT_FALSE(on_other_thread([&] { return mailbox->in_loop_thread(); }));
  EXPECT_EQ(mailbox->core(), &internal::core_of(loop));
  auto token = std::make_shared<int>(1);
  EXPECT_TRUE(mailbox->post([token] {}));
  EXPECT_EQ(token.use_count(), 2);
  mailbox->close();
  EXPECT_EQ(token.use_count(), 1) << "what was posted is destroyed";
  EXPECT_EQ(mailbox->core(), nullptr);
  EXPECT_FALSE(mailbox->post([token] {}));
  EXPECT_EQ(token.use_count(), 1);
}

TEST(MailboxTest, OnePostOfABurstWakes) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  Mailbox mailbox(internal::core_of(loop), std::move(*internal::Waker::create()));
  EXPECT_FALSE(mailbox.prepare_to_wait());
  for (int i = 0; i < 100; ++i) mailbox.post([] {});
  EXPECT_EQ(faults.count(Call::write), 1u);
  mailbox.woke_up();
  std::vector<Task> tasks;
  mailbox.take(tasks);
  EXPECT_EQ(tasks.size(), 100u);
  EXPECT_FALSE(mailbox.has_posts());
  mailbox.post([] {});
  EXPECT_EQ(faults.count(Call::write), 1u) << "nobody waits, so nobody is woken";
  EXPECT_TRUE(mailbox.prepare_to_wait()) << "posted before the wait: do not sleep";
}

// Many meetings of one poster and one sleeper, with the two shifted against each other by a
// growing amount of work. A lost wake-up shows as a poll that runs into its deadline.
TEST(MailboxTest, F56_NoWakeUpIsLost) {
  EventLoop loop;
  Mailbox mailbox(internal::core_of(loop), std::move(*internal::Waker::create()));
  constexpr int kRounds = 100'000;
  std::atomic<int> done{0};
  std::atomic<int> lost{0};
  std::thread poster([&] {
    for (int i = 0; i < kRounds; ++i) {
      while (done.load(std::memory_order_acquire) < i) {
        if (lost.load() > 0) return;
      }
      for (int spin = 0; spin < i % 64; ++spin) static_cast<void>(done.load());
      mailbox.post([&done, i] { done.store(i + 1, std::memory_order_release); });
    }
  });
  std::vector<Task> tasks;
  while (done.load() < kRounds && lost.load() == 0) {
    if (!mailbox.prepare_to_wait()) {
      pollfd item{.fd = mailbox.waker().fd(), .events = POLLIN, .revents = 0};
      if (::poll(&item, 1, 5000) == 0 && done.load() < kRounds) ++lost;
    }
    mailbox.woke_up();
    mailbox.waker().drain();
    if (!mailbox.has_posts()) continue;
    tasks.clear();
    mailbox.take(tasks);
    for (Task& task : tasks) task();
  }
  poster.join();
  EXPECT_EQ(lost.load(), 0);
}

// A task that another thread posts. Each move of it, one of which the mailbox makes while it is
// locked, lasts until this thread has forked. If the fork waits for the lock, the move ends first.
class SlowToMove {
 public:
  struct Moves {
    std::atomic<int> begun{0};
    std::atomic<int> seen{0};
  };

  explicit SlowToMove(Moves& moves) : moves_(&moves) {}
  SlowToMove(SlowToMove&& other) noexcept : moves_(other.moves_) {
    const int mine = ++moves_->begun;
    static_cast<void>(wait_until([&] { return moves_->seen >= mine; }, kLongestMove));
  }
  SlowToMove(const SlowToMove&) = delete;
  SlowToMove& operator=(const SlowToMove&) = delete;
  ~SlowToMove() = default;
  void operator()() const {}

 private:
  static constexpr auto kLongestMove = std::chrono::milliseconds(100);
  Moves* moves_;
};

// Otherwise a child would inherit the lock that the other thread holds, and wait for it for ever.
TEST(MailboxTest, F17_AForkInTheMidstOfAPostLeavesTheChildAWholeLoop) {
  auto loop = std::make_unique<EventLoop>();
  SlowToMove::Moves moves;
  std::atomic<bool> posted = false;
  std::thread other([&] {
    loop->post(SlowToMove(moves));
    posted = true;
  });
  const auto next_move = [&] { return moves.begun > moves.seen; };
  while (wait_until([&] { return posted || next_move(); }) && next_move()) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(5);
      loop.reset();
      ::_exit(0);
    }
    ++moves.seen;
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "forked in move " << moves.seen;
  }
  other.join();
  EXPECT_TRUE(posted);
  EXPECT_GE(moves.seen, 2) << "one before the mailbox is locked, one while it is";
}

}  // namespace
}  // namespace weir::test
