#include "support/spin_oracle.h"

#include "support/loops.h"
#include "support/process_state.h"

namespace weir::test {
namespace {

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

SpinOracle::SpinOracle(const FaultTable& faults)
    : faults_(faults),
      waits_(faults.waits()),
      start_(Clock::now()),
      thread_cpu_(thread_cpu_time()),
      process_cpu_(process_cpu_time()) {}

double SpinOracle::thread_cpu_share() const {
  return seconds(thread_cpu_time() - thread_cpu_) / seconds(elapsed());
}

double SpinOracle::process_cpu_share() const {
  return seconds(process_cpu_time() - process_cpu_) / seconds(elapsed());
}

::testing::AssertionResult SpinOracle::quiet() const {
  const double allowed = 10 * seconds(elapsed()) + 2;
  if (static_cast<double>(waits()) <= allowed) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << waits() << " returns of epoll_wait in " << seconds(elapsed()) << " s; the process used "
         << process_cpu_share() * 100 << " % of a core";
}

::testing::AssertionResult rests(EventLoop& loop, const FaultTable& faults, Duration time) {
  const SpinOracle oracle(faults);
  run_for(loop, time);
  return oracle.quiet();
}

}  // namespace weir::test
