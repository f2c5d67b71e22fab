#include "weir/base/result.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "weir/base/fmt.h"

namespace weir {
namespace {

TEST(Errno, NamesAndDescribes) {
  const Errno refused(ECONNREFUSED);
  EXPECT_EQ(refused.name(), "ECONNREFUSED");
  EXPECT_EQ(refused.message(), "Connection refused");
  EXPECT_EQ(fmt::format("{}", refused), "Connection refused (ECONNREFUSED)");
}

TEST(Errno, KnowsEveryNumberOrSaysThatItDoesNot) {
  for (int code = 1; code < 200; ++code) {
    EXPECT_EQ(Errno(code).name().front(), 'E') << code;
    EXPECT_FALSE(Errno(code).message().empty()) << code;
  }
  EXPECT_EQ(Errno(4711).name(), "E4711");
  EXPECT_EQ(Errno(4711).message(), "Unknown error 4711");
  EXPECT_EQ(Errno(-1).name(), "E-1");
}

TEST(Errno, ComparesWithErrnoConstants) {
  EXPECT_TRUE(Errno(EAGAIN) == EAGAIN);
  EXPECT_TRUE(Errno(EAGAIN) != EINTR);
  EXPECT_EQ(Errno(EPIPE), Errno(EPIPE));
  EXPECT_FALSE(static_cast<bool>(Errno()));
  EXPECT_TRUE(static_cast<bool>(Errno(EPERM)));
}

TEST(Errno, LastIsTheThreadsErrno) {
  errno = EMFILE;
  EXPECT_EQ(Errno::last(), EMFILE);
}

TEST(Error, JoinsWhatAndWhy) {
  const Error error("bind", Errno(EACCES));
  EXPECT_EQ(error.message(), "bind: Permission denied");
  EXPECT_EQ(error.code(), EACCES);
}

TEST(Error, WithinKeepsTheCode) {
  const Error error = Error("bind", Errno(EADDRINUSE)).within("listen on 0.0.0.0:80");
  EXPECT_EQ(error.message(), "listen on 0.0.0.0:80: bind: Address already in use");
  EXPECT_EQ(error.code(), EADDRINUSE);
  EXPECT_EQ(fmt::format("<{}>", error), "<" + error.message() + ">");
}

TEST(Error, WithoutErrnoIsEinval) {
  const Error error("\"banana\" is no address");
  EXPECT_EQ(error.code(), EINVAL);
  EXPECT_EQ(error.message(), "\"banana\" is no address");
}

TEST(SystemError, CarriesTheError) {
  try {
    throw SystemError(Error("epoll_create1", Errno(EMFILE)));
  } catch (const SystemError& e) {
    EXPECT_STREQ(e.what(), "epoll_create1: Too many open files");
    EXPECT_EQ(e.error().code(), EMFILE);
  }
}

TEST(Fail, PrintsToStderrAndReturnsOne) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(fail(Error("listen", Errno(EACCES))), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: listen: Permission denied\n");
}

}  // namespace
}  // namespace weir
