// What weir asks about its process and the machine, its threads and signal masks; and what becomes
// of it when the answer is no.
#include "weir/net/sys/process.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>

#include "support/fault_table.h"
#include "support/process_state.h"
#include "weir/net/sys/sys.h"
#include "weir/net/sys/thread.h"

namespace weir::test {
namespace {

namespace sys = internal::sys;

TEST(Process, LimitsThatAreNotKnownAreNone) {
  FaultTable faults;
  const ScopedFaults use(faults);
  EXPECT_GT(sys::machine_memory().value_or(0), 1024U * 1024U);
  faults.on(Call::getrlimit).fail(EPERM);
  EXPECT_EQ(sys::descriptor_limit(), std::nullopt);
  faults.on(Call::sysconf).fail(EINVAL);
  EXPECT_EQ(sys::machine_memory(), std::nullopt);
  faults.on(Call::getrusage).fail(EINVAL);
  EXPECT_EQ(sys::usage_of_this_thread().cpu, Duration::zero());
}

TEST(Process, DescriptorLimitIsThatOfTheProcess) {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_cur == RLIM_INFINITY) {
    EXPECT_EQ(sys::descriptor_limit(), std::nullopt);
  } else {
    EXPECT_EQ(sys::descriptor_limit(), files.rlim_cur);
  }
}

TEST(Process, InterfacesHaveNumbersAndNames) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const auto index = sys::interface_index("lo");
  ASSERT_TRUE(index);
  EXPECT_EQ(sys::interface_name(*index), "lo");
  EXPECT_EQ(sys::interface_index("no-such").error(), ENODEV);
  EXPECT_EQ(sys::interface_name(4'000'000).error(), ENXIO);
  faults.on(Call::if_nametoindex).fail(EMFILE);  // it opens a socket
  faults.on(Call::if_indextoname).fail(EMFILE);
  EXPECT_EQ(sys::interface_index("lo").error(), EMFILE);
  EXPECT_EQ(sys::interface_name(*index).error(), EMFILE);
}

TEST(Process, RandomBitsDifferAlsoWithoutRandomness) {
  FaultTable faults;
  const ScopedFaults use(faults);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 10; ++i) seen.insert(sys::random_bits());
  faults.on(Call::getrandom).fail(EAGAIN);
  for (int i = 0; i < 10; ++i) {
    faults.advance_clock(Duration(1));
    seen.insert(sys::random_bits());
  }
  EXPECT_EQ(seen.size(), 20U);
}

TEST(Process, AFileIsReadInPartsUpToItsBound) {
  std::string path = "/tmp/weir-XXXXXX";
  const Fd file(::mkstemp(path.data()));
  ASSERT_TRUE(file.valid());
  const std::string text(100'000, 'x');
  ASSERT_EQ(::write(file.get(), text.data(), 10'000), 10'000);
  FaultTable faults;
  const ScopedFaults use(faults);
  faults.on(Call::read).limit_bytes(1000);
  EXPECT_EQ(sys::read_file(path), text.substr(0, 10'000));
  faults.clear();
  ASSERT_EQ(::write(file.get(), text.data(), 90'000), 90'000);
  EXPECT_EQ(sys::read_file(path), text.substr(0, 64 * 1024));
  faults.on(Call::read).nth(2).fail(EIO);
  EXPECT_EQ(sys::read_file(path).error(), EIO);
  ::unlink(path.c_str());
  EXPECT_EQ(sys::read_file(path).error(), ENOENT);
}

TEST(Thread, InheritsTheTableAndHasItsName) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const internal::SysTable* table = nullptr;
  std::string name;
  auto thread = sys::Thread::start("weir-test", [&] {
    table = &sys::table();
    std::array<char, 16> text{};
    ::pthread_getname_np(::pthread_self(), text.data(), text.size());
    name = text.data();
  });
  ASSERT_TRUE(thread);
  sys::Thread moved;
  EXPECT_FALSE(moved.joinable());
  moved = std::move(*thread);
  EXPECT_FALSE(thread->joinable());
  moved.join();
  EXPECT_FALSE(moved.joinable());
  EXPECT_EQ(table, &faults);
  EXPECT_EQ(name, "weir-test");
}

TEST(Thread, ThatCannotBeStartedIsAnErrorAndItsBodyGoes) {
  FaultTable faults;
  const ScopedFaults use(faults);
  faults.on(Call::pthread_create).nth(1).fail(EAGAIN);
  const auto owned = std::make_shared<int>(7);
  errno = 4711;
  const auto refused = sys::Thread::start("weir-test", [owned] {});
  EXPECT_EQ(errno, 4711) << "pthread_create(3) returns its error";
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), EAGAIN);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(Thread, SignalMasksChangeAndComeBack) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR2);
  const sigset_t before = sys::change_signal_mask(SIG_BLOCK, one);
  EXPECT_EQ(sigismember(&before, SIGUSR2), 0);
  const sigset_t now = sys::signal_mask();
  EXPECT_EQ(sigismember(&now, SIGUSR2), 1);
  sys::change_signal_mask(SIG_SETMASK, before);
  const sigset_t after = sys::signal_mask();
  EXPECT_EQ(sigismember(&after, SIGUSR2), 0);
}

TEST(ThreadDeathTest, IsJoinedOnceAndItsExceptionsEndTheProgram) {
  EXPECT_DEATH(static_cast<void>(sys::Thread::start("weir-test", [] {})),
               "without having been joined");
  EXPECT_DEATH(sys::Thread().join(), "joined already, or never started");
  EXPECT_DEATH(
      {
        auto thread =
            sys::Thread::start("weir-test", [] { throw std::runtime_error("from a thread"); });
        thread->join();
      },
      "from a thread");
}

}  // namespace
}  // namespace weir::test
