// The harness itself: that it notices what it is there to notice.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <thread>

#include "support/allocations.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/leak_check.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "support/spin_oracle.h"
#include "support/subprocess.h"
#include "support/test_client.h"
#include "support/valgrind.h"
#include "weir/base/log_line.h"
#include "weir/net/socket/listening_socket.h"

namespace weir::test {
namespace {

namespace sys = internal::sys;

TEST(ProcessState, SeesADescriptorAThreadAndAChild) {
  const auto descriptors = open_descriptors();
  const auto running = threads();
  EXPECT_FALSE(has_children());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  EXPECT_EQ(open_descriptors().size(), descriptors.size() + 2);
  EXPECT_EQ(open_descriptors().at(ends[0]).substr(0, 5), "pipe:");
  ::close(ends[0]);
  ::close(ends[1]);
  std::atomic<bool> end{false};
  std::thread thread([&] { end.wait(false); });
  EXPECT_EQ(threads().size(), running.size() + 1);
  end = true;
  end.notify_one();
  thread.join();
  Subprocess child({"sleep", "60"});
  EXPECT_TRUE(has_children());
}

TEST(LeakCheckTest, FailsATestThatLeavesADescriptorOrAWarning) {
  LeakCheck check;
  ::testing::TestEventListener& listener = check;
  const ::testing::TestInfo& info = *::testing::UnitTest::GetInstance()->current_test_info();
  listener.OnTestStart(info);
  Fd left(::dup(STDERR_FILENO));
  EXPECT_NONFATAL_FAILURE(listener.OnTestEnd(info), "descriptor " + std::to_string(left.get()));
  left.reset();
  WEIR_LOG(error, "of the harness' own test");
  EXPECT_NONFATAL_FAILURE(listener.OnTestEnd(info), "unexpected in the log: of the harness");
  listener.OnTestStart(info);
  listener.OnTestEnd(info);
}

TEST(Allocations, AreCountedAndHeapCheckFindsWhatIsLeft) {
  if (!AllocationCount::available()) GTEST_SKIP() << "a sanitizer has its own operator new";
  const AllocationCount count;
  auto one = std::make_unique<int>(1);
  auto aligned = std::make_unique<std::array<std::max_align_t, 4>>();
  on_other_thread([] { std::make_unique<int>(2).reset(); });
  EXPECT_GE(count.on_all_threads(), 3u);
  EXPECT_GE(count.on_this_thread(), 2u);
  const std::int64_t before = live_heap().blocks;
  one.reset();
  EXPECT_EQ(live_heap().blocks, before - 1);
  std::unique_ptr<int> left;
  EXPECT_NONFATAL_FAILURE(
      {
        const HeapCheck check;
        left = std::make_unique<int>(3);
      },
      "left on the heap: 1 blocks");
}

TEST(ExpectLogTest, CollectsWhatIsExpectedAndFailsForWhatIsMissing) {
  {
    const ExpectLog expected("of this test");
    WEIR_LOG(warn, "a line {} test", "of this");
    EXPECT_EQ(expected.count(), 1u);
    EXPECT_EQ(expected.lines().front(), "a line of this test");
  }
  EXPECT_TRUE(LogWatch::unexpected().empty());
  EXPECT_NONFATAL_FAILURE({ const ExpectLog missing("never"); }, "nothing was logged");
}

// One line, limited to one a second: whichever test comes second finds the limit full again.
void expect_a_limited_line() {
  const ExpectLog expected("limited");
  WEIR_LOG_LIMITED(warn, 1, "limited");
  EXPECT_EQ(expected.count(), 1u);
}
TEST(ExpectLogTest, LogLimitsAreFullAtTheStartOfATest) { expect_a_limited_line(); }
TEST(ExpectLogTest, LogLimitsAreFullAtTheStartOfTheNextTest) { expect_a_limited_line(); }

TEST(FaultTableTest, FailsLimitsCountsAndForges) {
  FaultTable faults;
  const ScopedFaults use(faults);
  faults.on(Call::eventfd).nth(2).fail(EMFILE);
  auto first = sys::eventfd();
  ASSERT_TRUE(first);
  auto second = sys::eventfd();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), EMFILE);
  EXPECT_TRUE(sys::eventfd());
  EXPECT_EQ(faults.count(Call::eventfd), 3u);
  EXPECT_EQ(faults.failed(Call::eventfd), 1u);

  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  faults.on(Call::write).fd(ends[1]).first(1).limit_bytes(1);
  const std::array<std::byte, 3> bytes{};
  EXPECT_EQ(sys::write(ends[1], bytes).value(), 1u);
  EXPECT_EQ(sys::write(ends[1], bytes).value(), 3u);
  ::close(ends[0]);
  ::close(ends[1]);

  auto epoll = sys::epoll_create();
  ASSERT_TRUE(epoll);
  std::array<epoll_event, 4> events{};
  faults.forge_batch({{SlotId{1, 2}, EPOLLIN}});
  EXPECT_EQ(sys::epoll_wait(epoll->get(), events, Duration::zero()).value(), 1u);
  EXPECT_EQ(SlotId::from_u64(events[0].data.u64), (SlotId{1, 2}));
  EXPECT_EQ(sys::epoll_wait(epoll->get(), events, Duration::zero()).value(), 0u);
  EXPECT_EQ(faults.waits(), under_valgrind() ? 3u : 2u);  // Valgrind has no epoll_pwait2

  const TimePoint before = sys::now();
  faults.advance_clock(std::chrono::hours(1));
  EXPECT_GE(sys::now() - before, std::chrono::hours(1));
}

TEST(FaultTableTest, CloseThatFailsClosesOnce) {
  FaultTable faults;
  const ScopedFaults use(faults);
  auto fd = sys::eventfd();
  ASSERT_TRUE(fd);
  const int number = fd->get();
  faults.on(Call::close).fail(EINTR);
  fd->reset();
  EXPECT_EQ(faults.count(Call::close), 1u);
  EXPECT_FALSE(open_descriptors().contains(number));
}

TEST(RunUntil, EndsWithThePredicateOrTheDeadline) {
  EventLoop loop;
  int calls = 0;
  loop.run_after(std::chrono::milliseconds(5), [&] { ++calls; });
  EXPECT_TRUE(run_until(loop, [&] { return calls == 1; }));
  EXPECT_FALSE(run_until(
      loop, [&] { return calls == 2; }, std::chrono::milliseconds(20)));
  run_turn(loop);
}

TEST(SpinOracleTest, TellsARestingLoopFromASpinningOne) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EXPECT_TRUE(rests(loop, faults, std::chrono::milliseconds(200)));
  std::move_only_function<void()> again;
  bool on = true;
  again = [&] {
    if (on) loop.post([&] { again(); });
  };
  again();
  EXPECT_FALSE(rests(loop, faults, std::chrono::milliseconds(100)));
  on = false;
  run_turn(loop);
}

TEST(TestClientTest, SendsReceivesAndSeesHowItEnds) {
  auto listener = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  ASSERT_TRUE(listener);
  for (const bool rude : {false, true}) {
    TestClient client(listener->address());
    ASSERT_TRUE(wait_until([&] {
      auto accepted = listener->socket().accept();
      if (!accepted) return false;
      std::array<std::byte, 2> got{};
      EXPECT_TRUE(client.send_all("hi"));
      EXPECT_TRUE(wait_until([&] { return accepted->receive(got).value_or(0) == 2; }));
      EXPECT_TRUE(accepted->send(std::as_bytes(std::span("ho", 2))));
      if (rude) accepted->set_linger(std::chrono::seconds(0)).value();
      accepted->close();
      return true;
    }));
    if (rude) {
      EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
    } else {
      EXPECT_EQ(client.receive_until_eof(), "ho");
      EXPECT_EQ(client.ended(), TestClient::End::eof);
    }
  }
}

TEST(SubprocessTest, CapturesOutputAndStatus) {
  Subprocess shell({"sh", "-c", "echo one; read x; echo $x >&2; exit 3"});
  EXPECT_EQ(shell.read_line(), "one");
  shell.write_input("two\n");
  EXPECT_EQ(shell.wait(), 3);
  EXPECT_EQ(shell.errors(), "two\n");
  Subprocess sleeper({"sleep", "60"});
  EXPECT_EQ(sleeper.wait(std::chrono::milliseconds(10)), std::nullopt);
  sleeper.signal(SIGTERM);
  EXPECT_EQ(sleeper.wait(), 128 + SIGTERM);
}

}  // namespace
}  // namespace weir::test
