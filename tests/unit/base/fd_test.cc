#include "weir/base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

namespace weir {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

Fd open_null() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

// Replaces this thread's close() for a scope by one that records, and fails with a given errno
// after it has closed, as Linux does.
class RecordedClose {
 public:
  explicit RecordedClose(int fail_with) {
    closed.clear();
    error = fail_with;
    previous_ = internal::exchange_close_function(&RecordedClose::close);
  }
  RecordedClose(const RecordedClose&) = delete;
  RecordedClose& operator=(const RecordedClose&) = delete;
  ~RecordedClose() { internal::exchange_close_function(previous_); }

  static thread_local std::vector<int> closed;

 private:
  static int close(int fd) {
    closed.push_back(fd);
    ::close(fd);
    errno = error;
    return error == 0 ? 0 : -1;
  }
  static thread_local int error;
  internal::CloseFunction previous_;
};
thread_local std::vector<int> RecordedClose::closed;
thread_local int RecordedClose::error = 0;

TEST(Fd, StartsInvalid) {
  const Fd fd;
  EXPECT_EQ(fd.get(), -1);
  EXPECT_FALSE(fd.valid());
  EXPECT_FALSE(static_cast<bool>(fd));
}

TEST(Fd, ZeroIsADescriptor) {
  const RecordedClose recorded(0);
  Fd fd(0);
  EXPECT_TRUE(fd.valid());
  EXPECT_EQ(fd.release(), 0);
  EXPECT_TRUE(RecordedClose::closed.empty());
}

TEST(Fd, ClosesAtTheEndOfItsLife) {
  int number = -1;
  {
    const Fd fd = open_null();
    number = fd.get();
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, MoveLeavesTheSourceEmpty) {
  Fd a = open_null();
  const int number = a.get();
  Fd b(std::move(a));
  EXPECT_EQ(a.get(), -1);  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(b.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(Fd, MoveAssignmentClosesWhatWasHeld) {
  Fd a = open_null();
  Fd b = open_null();
  const int first = a.get();
  const int second = b.get();
  a = std::move(b);
  EXPECT_EQ(a.get(), second);
  EXPECT_FALSE(is_open(first));
  EXPECT_TRUE(is_open(second));
}

TEST(Fd, SelfMoveKeepsTheDescriptor) {
  Fd a = open_null();
  const int number = a.get();
  Fd& same = a;
  a = std::move(same);
  EXPECT_EQ(a.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(Fd, ReleaseGivesUpOwnership) {
  Fd a = open_null();
  const int number = a.release();
  EXPECT_FALSE(a.valid());
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(Fd, F72_ClosesExactlyOnceWhateverCloseReports) {
  for (const int error : {0, EINTR, EIO, ENOSPC, EDQUOT}) {
    SCOPED_TRACE(error);
    const RecordedClose recorded(error);
    int number = -1;
    {
      Fd fd = open_null();
      number = fd.get();
      fd.reset();
      EXPECT_FALSE(fd.valid());
      fd.reset();
    }
    EXPECT_EQ(RecordedClose::closed, std::vector<int>{number});
  }
}

TEST(Fd, F72_MovesCloseEachDescriptorOnce) {
  const RecordedClose recorded(0);
  std::vector<int> expected;
  {
    std::vector<Fd> fds;
    for (int i = 0; i < 20; ++i) {
      fds.push_back(open_null());  // the vector's growth moves them about
      expected.push_back(fds.back().get());
    }
    std::swap(fds.front(), fds.back());
    EXPECT_TRUE(RecordedClose::closed.empty());
  }
  std::sort(RecordedClose::closed.begin(), RecordedClose::closed.end());
  EXPECT_EQ(RecordedClose::closed, expected);
}

TEST(Fd, F72_ResetKeepsErrno) {
  for (const int close_error : {0, EINTR, EIO}) {
    SCOPED_TRACE(close_error);
    const RecordedClose recorded(close_error);
    Fd fd = open_null();
    errno = ECONNREFUSED;
    fd.reset();
    EXPECT_EQ(errno, ECONNREFUSED);
  }
}

TEST(Fd, ResetTakesANewOneAndClosesTheOld) {
  Fd fd = open_null();
  const int first = fd.get();
  const int second = open_null().release();
  fd.reset(second);
  EXPECT_EQ(fd.get(), second);
  EXPECT_FALSE(is_open(first));
}

TEST(FdDeathTest, ResetToItselfIsABug) {
  Fd fd = open_null();
  EXPECT_DEATH(fd.reset(fd.get()), "Fd::reset\\([0-9]+\\): the Fd already holds this descriptor");
}

TEST(Fd, TheCloseFunctionBelongsToOneThread) {
  const RecordedClose recorded(0);
  std::thread([] { open_null().reset(); }).join();
  EXPECT_TRUE(RecordedClose::closed.empty());
  open_null().reset();
  EXPECT_EQ(RecordedClose::closed.size(), 1U);
}

TEST(Fd, NullRestoresTheKernelsClose) {
  const internal::CloseFunction before = internal::exchange_close_function([](int) { return 0; });
  EXPECT_NE(internal::exchange_close_function(nullptr), before);
  const int number = open_null().get();
  EXPECT_FALSE(is_open(number));
  EXPECT_EQ(internal::exchange_close_function(before), before);
}

}  // namespace
}  // namespace weir
