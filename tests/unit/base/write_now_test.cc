#include "weir/base/write_now.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spdlog/logger.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "weir/base/fd.h"
#include "weir/base/stderr_sink.h"

namespace weir::test {
namespace {

using internal::write_now;

// What can be read from `fd` without waiting.
std::string take_from(const Fd& fd) {
  std::string all;
  std::array<char, 65536> block{};
  pollfd ready{.fd = fd.get(), .events = POLLIN, .revents = 0};
  while (::poll(&ready, 1, 0) > 0) {
    const ssize_t got = ::read(fd.get(), block.data(), block.size());
    if (got <= 0) break;
    all.append(block.data(), static_cast<std::size_t>(got));
  }
  return all;
}

// Blocking, as the pipes that shells and service managers make.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    reading.reset(ends[0]);
    writing.reset(ends[1]);
  }
  std::string take() const { return take_from(reading); }
  Fd reading;
  Fd writing;
};

struct Terminal {
  Terminal() : screen(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    EXPECT_EQ(::grantpt(screen.get()), 0);
    EXPECT_EQ(::unlockpt(screen.get()), 0);
    writing.reset(::open(::ptsname(screen.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_TRUE(writing);
  }
  std::string take() const { return take_from(screen); }
  Fd screen;
  Fd writing;
};

void fill(int fd) {
  while (write_now(fd, std::string(4096, 'x')) == 4096) {
  }
  EXPECT_EQ(errno, EAGAIN);
}

bool waits(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

TEST(WriteNow, AFullPipeIsNotWaitedFor) {
  const Pipe pipe;
  fill(pipe.writing.get());
  EXPECT_EQ(write_now(pipe.writing.get(), "y"), 0u);
  EXPECT_TRUE(waits(pipe.writing.get())) << "the flag belongs to all who share it";
  EXPECT_EQ(pipe.take().find('y'), std::string::npos);
  EXPECT_EQ(write_now(pipe.writing.get(), "y"), 1u);
}

TEST(WriteNow, AFullSocketIsNotWaitedFor) {
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  fill(ours.get());
  EXPECT_TRUE(waits(ours.get()));
}

// A terminal whose reader has gone to sleep, or that was stopped with Ctrl-S.
TEST(WriteNow, AFullTerminalIsNotWaitedFor) {
  const Terminal terminal;
  fill(terminal.writing.get());
  EXPECT_TRUE(waits(terminal.writing.get()));
}

// Then the terminal cannot be opened once more, and what poll(2) says is all that is known.
TEST(WriteNow, AFullTerminalIsNotWaitedForWithoutAFreeDescriptor) {
  const Terminal terminal;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string line(3000, 'x');  // does not divide what a terminal holds
  std::size_t taken = 0;
  for (std::size_t now = line.size(); now == line.size(); taken += now) {
    now = write_now(terminal.writing.get(), line);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_GT(taken, line.size());
  EXPECT_TRUE(waits(terminal.writing.get()));
  EXPECT_EQ(terminal.take().substr(0, line.size()), line);
}

TEST(WriteNow, AReaderThatHasGoneIsAnErrorAndNoSignal) {
  Pipe pipe;
  pipe.reading.reset();
  EXPECT_EQ(write_now(pipe.writing.get(), "y"), 0u);
  EXPECT_EQ(errno, EPIPE);
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

TEST(WriteNow, AFileGetsAllOfIt) {
  std::string path = "/tmp/weir_XXXXXX";
  const Fd file(::mkstemp(path.data()));
  const std::string text(100'000, 'z');
  EXPECT_EQ(write_now(file.get(), text), text.size());
  std::ifstream in(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), text);
  ::unlink(path.c_str());
}

TEST(WriteNow, AClosedDescriptorIsAnError) {
  EXPECT_EQ(write_now(-1, "y"), 0u);
  EXPECT_EQ(errno, EBADF);
}

// Standard error is this descriptor while it lives.
class AsStandardError {
 public:
  explicit AsStandardError(const Fd& fd) : kept_(::fcntl(2, F_DUPFD_CLOEXEC, 3)) {
    ::dup2(fd.get(), 2);
  }
  ~AsStandardError() { ::dup2(kept_.get(), 2); }
  AsStandardError(const AsStandardError&) = delete;
  AsStandardError& operator=(const AsStandardError&) = delete;

 private:
  const Fd kept_;
};

TEST(StderrSink, F68_LinesThatAreLostAreCountedAndTold) {
  const Pipe pipe;
  spdlog::logger logger("weir", std::make_shared<internal::StderrSink>());
  const AsStandardError standard(pipe.writing);
  logger.warn("first");
  fill(2);
  for (int i = 0; i < 5; ++i) logger.warn("lost");
  static_cast<void>(pipe.take());
  logger.warn("second");
  logger.warn("third");
  const std::string got = pipe.take();
  EXPECT_EQ(got.find("lost\n"), std::string::npos) << got;
  const std::size_t report = got.find("5 log lines could not be written to standard error\n");
  EXPECT_NE(report, std::string::npos) << got;
  EXPECT_NE(got.find("second\n"), std::string::npos) << got;
  EXPECT_EQ(report, got.rfind("log lines could not be written") - 2) << "reported once: " << got;
}

TEST(StderrSink, OnATerminalTheLevelIsColoured) {
  ::setenv("TERM", "xterm", 0);  // in CI it may be unset
  const Terminal terminal;
  const AsStandardError standard(terminal.writing);
  spdlog::logger logger("weir", std::make_shared<internal::StderrSink>());
  logger.set_pattern("%n %^%l%$ %v");
  logger.warn("one");
  logger.error("two");
  logger.set_pattern("%v without a coloured part");
  logger.warn("three");
  const std::string got = terminal.take();
  EXPECT_EQ(got,
            "weir \033[33m\033[1mwarning\033[m one\r\n"
            "weir \033[31m\033[1merror\033[m two\r\n"
            "three without a coloured part\r\n");
}

}  // namespace
}  // namespace weir::test
