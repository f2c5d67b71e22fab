#include "weir/net/testing/fake_clock.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>

#include "weir/base/check_format.h"
#include "weir/net/sys/sys.h"

namespace weir::testing {

// The system calls of the kernel, except for the monotonic clock.
class FakeClock::Table final : public internal::SysTable {
 public:
  Table() : now_(Clock::now().time_since_epoch().count()), use_(this) {}

  int clock_gettime(clockid_t clock, timespec* time) override {
    if (clock != CLOCK_MONOTONIC) return internal::SysTable::clock_gettime(clock, time);
    const std::int64_t now = now_.load(std::memory_order_relaxed);
    constexpr std::int64_t kSecond = std::chrono::nanoseconds(std::chrono::seconds(1)).count();
    time->tv_sec = static_cast<time_t>(now / kSecond);
    time->tv_nsec = static_cast<long>(now % kSecond);
    return 0;
  }
  void advance(Duration by) { now_.fetch_add(by.count(), std::memory_order_relaxed); }
  TimePoint now() const { return TimePoint(Duration(now_.load(std::memory_order_relaxed))); }

 private:
  std::atomic<std::int64_t> now_;  // ns of Clock
  const internal::sys::ScopedTable use_;
};

FakeClock::FakeClock() : table_(std::make_unique<Table>()) {}

FakeClock::~FakeClock() = default;

void FakeClock::advance(Duration by) {
  WEIR_CHECK(by >= Duration::zero(), "FakeClock::advance by {} ns", by.count());
  table_->advance(by);
}

TimePoint FakeClock::now() const { return table_->now(); }

}  // namespace weir::testing
