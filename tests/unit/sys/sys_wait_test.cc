#include "weir/net/sys/sys.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <climits>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "support/fault_table.h"
#include "support/sockets.h"

namespace weir {
namespace {

namespace sys = internal::sys;
using namespace std::chrono_literals;
using internal::SysTable;
using test::errno_of;

TEST(SysWait, F15_AnInterruptedWaitComesBackToTheCaller) {
  test::FaultTable faults;
  faults.on(test::Call::epoll_pwait2).fail(EINTR);
  const test::ScopedFaults use(faults);
  std::array<epoll_event, 1> events{};
  EXPECT_EQ(errno_of(sys::epoll_wait(-1, events, 1s)), Errno(EINTR));
  EXPECT_EQ(faults.waits(), 1U);
}

// What was asked of epoll; `pwait2_error` is what the newer call answers.
class WaitTable : public SysTable {
 public:
  explicit WaitTable(int pwait2_error) : pwait2_error_(pwait2_error) {}
  int pwait2_calls = 0;
  std::optional<timespec> timespec_asked;
  std::vector<int> milliseconds_asked;

  int epoll_pwait2(int, epoll_event*, int, const timespec* timeout) override {
    ++pwait2_calls;
    timespec_asked.reset();
    if (timeout != nullptr) timespec_asked = *timeout;
    if (pwait2_error_ == 0) return 0;
    errno = pwait2_error_;
    return -1;
  }
  int epoll_wait(int, epoll_event*, int, int timeout_ms) override {
    milliseconds_asked.push_back(timeout_ms);
    return 0;
  }

 private:
  int pwait2_error_;
};

int milliseconds_for(Duration timeout) {
  WaitTable table(ENOSYS);
  const sys::ScopedTable scoped(&table);
  std::array<epoll_event, 1> events{};
  EXPECT_TRUE(sys::epoll_wait(3, events, timeout));
  EXPECT_EQ(table.milliseconds_asked.size(), 1U);
  return table.milliseconds_asked.at(0);
}

TEST(SysWait, F15_TheFallbackRoundsUpToMilliseconds) {
  EXPECT_EQ(milliseconds_for(0ns), 0);
  EXPECT_EQ(milliseconds_for(1ns), 1);
  EXPECT_EQ(milliseconds_for(999'999ns), 1);
  EXPECT_EQ(milliseconds_for(1ms), 1);
  EXPECT_EQ(milliseconds_for(1ms + 1ns), 2);
  EXPECT_EQ(milliseconds_for(1h), 3'600'000);
  std::mt19937_64 random(15);
  for (int round = 0; round < 20'000; ++round) {
    const auto timeout = Duration(static_cast<std::int64_t>(random() >> (12 + random() % 52)));
    const std::int64_t asked = milliseconds_for(timeout);
    if (timeout > std::chrono::milliseconds(INT_MAX)) {
      ASSERT_EQ(asked, INT_MAX);
      continue;
    }
    ASSERT_GE(std::chrono::milliseconds(asked), timeout) << "would wake early";
    ASSERT_LT(std::chrono::milliseconds(asked - 1), timeout) << "would wake late";
  }
}

TEST(SysWait, F15_TheFallbackCutsHugeWaitsAndKeepsForEver) {
  EXPECT_EQ(milliseconds_for(std::chrono::milliseconds(INT_MAX)), INT_MAX);
  EXPECT_EQ(milliseconds_for(std::chrono::milliseconds(INT_MAX) + 1ns), INT_MAX);
  EXPECT_EQ(milliseconds_for(std::chrono::hours(24 * 25)), INT_MAX);
  EXPECT_EQ(milliseconds_for(Duration::max()), INT_MAX);
  EXPECT_EQ(milliseconds_for(-1ns), -1);
  EXPECT_EQ(milliseconds_for(Duration::min()), -1);
}

TEST(SysWait, F15_NanosecondsGoToTheKernelAsTheyAre) {
  WaitTable table(0);
  const sys::ScopedTable scoped(&table);
  std::array<epoll_event, 1> events{};
  for (const Duration timeout : {Duration(0), Duration(1), Duration(999'999'999), Duration(1s),
                                 Duration(1s) + 1ns, Duration(24h * 400), Duration::max()}) {
    ASSERT_TRUE(sys::epoll_wait(3, events, timeout));
    ASSERT_TRUE(table.timespec_asked);
    EXPECT_EQ(std::chrono::seconds(table.timespec_asked->tv_sec) +
                  Duration(table.timespec_asked->tv_nsec),
              timeout);
    EXPECT_GE(table.timespec_asked->tv_nsec, 0);
    EXPECT_LT(table.timespec_asked->tv_nsec, 1'000'000'000);
  }
  for (const Duration timeout : {Duration(-1), Duration::min()}) {
    ASSERT_TRUE(sys::epoll_wait(3, events, timeout));
    EXPECT_FALSE(table.timespec_asked);
  }
  EXPECT_TRUE(table.milliseconds_asked.empty());
}

TEST(SysWait, F15_AMissingPwait2IsFoundOutOnce) {
  for (const int error : {ENOSYS, EPERM}) {
    WaitTable table(error);
    std::array<epoll_event, 1> events{};
    {
      const sys::ScopedTable scoped(&table);
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(sys::epoll_wait(3, events, 1ms));
      EXPECT_EQ(table.pwait2_calls, 1);
      EXPECT_EQ(table.milliseconds_asked, (std::vector<int>{1, 1, 1}));
    }
    const sys::ScopedTable scoped(&table);
    ASSERT_TRUE(sys::epoll_wait(3, events, 1ms));
    EXPECT_EQ(table.pwait2_calls, 2) << "a table that is installed anew is asked anew";
  }
  WaitTable other(EBADF);
  const sys::ScopedTable scoped(&other);
  std::array<epoll_event, 1> events{};
  EXPECT_EQ(errno_of(sys::epoll_wait(3, events, 1ms)), Errno(EBADF));
  EXPECT_TRUE(other.milliseconds_asked.empty()) << "other errors do not fall back";
}

TEST(SysWait, F15_TheKernelNeverWakesEarly) {
  const auto epoll = sys::epoll_create();
  ASSERT_TRUE(epoll);
  std::array<epoll_event, 4> events{};
  for (const bool fallback : {false, true}) {
    class NoPwait2 : public SysTable {
      int epoll_pwait2(int, epoll_event*, int, const timespec*) override {
        errno = ENOSYS;
        return -1;
      }
    } table;
    const sys::ScopedTable scoped(fallback ? &table : nullptr);
    for (const Duration wait : {Duration(1ns), Duration(100us), Duration(1500us), Duration(3ms)}) {
      const TimePoint start = sys::now();
      const auto ready = sys::epoll_wait(epoll->get(), events, wait);
      ASSERT_TRUE(ready);
      EXPECT_EQ(*ready, 0U);
      EXPECT_GE(sys::now() - start, wait);
    }
    // The longest waits are taken by the kernel, too: with something ready they return at once.
    auto event = sys::eventfd();
    ASSERT_TRUE(event);
    const std::uint64_t one = 1;
    ASSERT_TRUE(sys::write(event->get(), std::as_bytes(std::span(&one, 1))));
    ASSERT_TRUE(sys::epoll_ctl(epoll->get(), EPOLL_CTL_ADD, event->get(), EPOLLIN, 42));
    for (const Duration wait : {Duration::max(), Duration(24h * 1000), Duration(-1), Duration(0)}) {
      const auto ready = sys::epoll_wait(epoll->get(), events, wait);
      ASSERT_TRUE(ready);
      ASSERT_EQ(*ready, 1U);
      EXPECT_EQ(events[0].data.u64, 42U);
    }
    ASSERT_TRUE(sys::epoll_ctl(epoll->get(), EPOLL_CTL_DEL, event->get(), 0, 0));
  }
}

}  // namespace
}  // namespace weir
