#include "weir/net/sys/sys.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/sockets.h"
#include "support/temp_files.h"

namespace weir {
namespace {

namespace sys = internal::sys;
using internal::SysTable;
using test::errno_of;

// Accepts everything that is sent without reading it.
class SendTable : public SysTable {
 public:
  std::size_t vectors = 0;
  std::size_t size = 0;
  int flags = 0;
  off_t offset = -1;
  bool interrupt_once = false;

  ssize_t send(int, const void*, std::size_t asked, int given_flags) override {
    flags = given_flags;
    return taken(asked);
  }
  ssize_t sendmsg(int, const msghdr* message, int given_flags) override {
    flags = given_flags;
    vectors = message->msg_iovlen;
    std::size_t sum = 0;
    for (std::size_t i = 0; i < vectors; ++i) {
      EXPECT_FALSE(__builtin_add_overflow(sum, message->msg_iov[i].iov_len, &sum));
    }
    return taken(sum);
  }
  ssize_t recvmsg(int, msghdr* message, int) override {
    vectors = message->msg_iovlen;
    return 0;
  }
  ssize_t sendfile(int, int, off_t* position, std::size_t asked) override {
    offset = std::exchange(*position, *position + 1);
    return taken(asked);
  }

 private:
  ssize_t taken(std::size_t asked) {
    if (std::exchange(interrupt_once, false)) {
      errno = EINTR;
      return -1;
    }
    size = asked;
    return static_cast<ssize_t>(asked);
  }
};

constexpr std::size_t kHuge = std::size_t{5} << 30;

TEST(SysSend, F30_HugeSendsAreCutToWhatOneCallTakes) {
  SendTable table;
  const sys::ScopedTable scoped(&table);
  std::byte byte{};
  EXPECT_EQ(*sys::send(3, std::span(&byte, kHuge)), sys::kMaxTransfer);
  EXPECT_EQ(*sys::sendfile(3, 4, 7, kHuge), sys::kMaxTransfer);
  EXPECT_EQ(table.offset, 7);
  EXPECT_EQ(*sys::sendfile(3, 4, std::uint64_t{1} << 40, 10), 10U);
  EXPECT_EQ(table.offset, off_t{1} << 40);
  EXPECT_EQ(errno_of(sys::sendfile(3, 4, std::uint64_t{1} << 63, 1)), Errno(EOVERFLOW));
  EXPECT_EQ(errno_of(sys::sendfile(3, 4, ~std::uint64_t{0}, 1)), Errno(EOVERFLOW));
}

TEST(SysSend, F30_AnInterruptedSendfileStartsWhereItStarted) {
  SendTable table;
  table.interrupt_once = true;
  const sys::ScopedTable scoped(&table);
  EXPECT_EQ(*sys::sendfile(3, 4, 100, 5), 5U);
  EXPECT_EQ(table.offset, 100);
}

TEST(SysSend, F30_HugeVectorsAreCutForTheCallAndMended) {
  SendTable table;
  const sys::ScopedTable scoped(&table);
  std::byte byte{};
  const auto lengths_after = [&](std::vector<std::size_t> lengths, std::size_t expected_sum,
                                 std::size_t expected_vectors) {
    std::vector<iovec> vectors;
    for (const std::size_t length : lengths) {
      vectors.push_back({.iov_base = &byte, .iov_len = length});
    }
    for (const bool interrupted : {false, true}) {
      table.interrupt_once = interrupted;
      EXPECT_EQ(*sys::send_vectors(3, vectors), expected_sum);
      EXPECT_EQ(table.vectors, expected_vectors);
      for (std::size_t i = 0; i < lengths.size(); ++i) EXPECT_EQ(vectors[i].iov_len, lengths[i]);
    }
  };
  const std::size_t most = sys::kMaxTransfer;
  lengths_after({}, 0, 0);
  lengths_after({1, 2, 3}, 6, 3);
  lengths_after({kHuge}, most, 1);
  lengths_after({10, kHuge, 10}, most, 2);
  lengths_after({most, 10}, most, 2);
  lengths_after({most - 1, 1, 10}, most, 3);
  lengths_after({most - 1, 1}, most, 2);
  lengths_after({1, SIZE_MAX, SIZE_MAX}, most, 2);
  lengths_after({SIZE_MAX}, most, 1);
}

TEST(SysSend, F30_MoreVectorsThanOneCallTakes) {
  SendTable table;
  std::array<std::byte, 1> byte{};
  std::vector<iovec> vectors(3000, iovec{.iov_base = byte.data(), .iov_len = 1});
  {
    const sys::ScopedTable scoped(&table);
    EXPECT_EQ(*sys::send_vectors(3, vectors), 1024U);
    EXPECT_EQ(table.vectors, 1024U);
    EXPECT_TRUE(sys::recv_vectors(3, vectors));
    EXPECT_EQ(table.vectors, 1024U);
  }
  // And the real kernel, which would answer EMSGSIZE to 1025.
  auto pair = test::connected_pair();
  EXPECT_EQ(*sys::send_vectors(pair.client.fd(), vectors), 1024U);
  ASSERT_TRUE(test::wait_for(pair.server.fd(), POLLIN));
  const auto got = sys::recv_vectors(pair.server.fd(), vectors);
  ASSERT_TRUE(got);
  EXPECT_LE(*got, 1024U);
  EXPECT_GE(*got, 1U);
}

TEST(SysSend, F21_EverySendHasNoSignal) {
  SendTable table;
  const sys::ScopedTable scoped(&table);
  std::array<std::byte, 4> block{};
  iovec vector{.iov_base = block.data(), .iov_len = block.size()};
  ASSERT_TRUE(sys::send(3, block));
  EXPECT_EQ(table.flags, MSG_NOSIGNAL);
  table.flags = 0;
  ASSERT_TRUE(sys::send_vectors(3, {&vector, 1}));
  EXPECT_EQ(table.flags, MSG_NOSIGNAL);
}

// Sends in every way to a peer that is gone. Returns how many ways said EPIPE.
int broken_pipes() {
  auto pair = test::connected_pair();
  test::reset_by(pair.server);
  test::wait_for(pair.client.fd(), POLLERR | POLLHUP);
  auto file = sys::open("/proc/self/exe", O_RDONLY);
  if (!file) return -1;
  static_cast<void>(pair.client.error());  // the next error is EPIPE, not ECONNRESET
  std::array<std::byte, 16> block{};
  iovec vector{.iov_base = block.data(), .iov_len = block.size()};
  int broken = 0;
  if (errno_of(sys::send(pair.client.fd(), block)) == EPIPE) ++broken;
  if (errno_of(sys::send_vectors(pair.client.fd(), {&vector, 1})) == EPIPE) ++broken;
  if (errno_of(sys::sendfile(pair.client.fd(), file->get(), 0, 4096)) == EPIPE) ++broken;
  const auto pipe = sys::pipe();
  if (!pipe || !sys::write(pipe->writing.get(), block)) return -1;
  if (errno_of(sys::splice_to_socket(pipe->reading.get(), pair.client.fd(), 16)) == EPIPE) ++broken;
  return broken;
}

TEST(SysSend, F21_SendingToAResetPeerDoesNotKill) {
  EXPECT_EXIT(
      {
        std::signal(SIGPIPE, SIG_DFL);
        sigset_t none;
        sigemptyset(&none);
        pthread_sigmask(SIG_SETMASK, &none, nullptr);
        _exit(broken_pipes());
      },
      testing::ExitedWithCode(4), "");
}

// Restores the thread's mask and SIGPIPE's action.
class SignalState {
 public:
  SignalState() {
    pthread_sigmask(SIG_SETMASK, nullptr, &mask_);
    sigaction(SIGPIPE, nullptr, &action_);
  }
  SignalState(const SignalState&) = delete;
  SignalState& operator=(const SignalState&) = delete;
  ~SignalState() {
    sigaction(SIGPIPE, &action_, nullptr);
    pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
  }

 private:
  sigset_t mask_{};
  struct sigaction action_ {};
};

volatile std::sig_atomic_t pipe_signals = 0;

bool sigpipe_is_pending() {
  sigset_t pending;
  sigemptyset(&pending);
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}

TEST(SysSend, F21_NoSigpipeIsDeliveredOrLeftBehind) {
  const SignalState restored;
  pipe_signals = 0;
  std::signal(SIGPIPE, [](int) { pipe_signals = pipe_signals + 1; });
  sigset_t sigpipe;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);

  pthread_sigmask(SIG_UNBLOCK, &sigpipe, nullptr);
  EXPECT_EQ(broken_pipes(), 4);
  EXPECT_EQ(pipe_signals, 0);
  EXPECT_FALSE(sigpipe_is_pending());
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGPIPE), 0) << "the mask is as it was";

  pthread_sigmask(SIG_BLOCK, &sigpipe, nullptr);
  EXPECT_EQ(broken_pipes(), 4);
  EXPECT_FALSE(sigpipe_is_pending()) << "ours was taken back";
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGPIPE), 1) << "the mask is as it was";

  // One that the program has waiting is not ours to take.
  pthread_kill(pthread_self(), SIGPIPE);
  ASSERT_TRUE(sigpipe_is_pending());
  EXPECT_EQ(broken_pipes(), 4);
  EXPECT_TRUE(sigpipe_is_pending());
  EXPECT_EQ(pipe_signals, 0);
  pthread_sigmask(SIG_UNBLOCK, &sigpipe, nullptr);
  EXPECT_EQ(pipe_signals, 1);
}

TEST(SysSend, SendfileSendsARangeAndSaysWhereTheFileEnds) {
  const test::TempFolder folder;
  const std::string path = folder.file("data");
  auto file = sys::open(path.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(file);
  ASSERT_TRUE(sys::write(file->get(), test::bytes_of("0123456789")));
  auto pair = test::connected_pair();
  EXPECT_EQ(*sys::sendfile(pair.client.fd(), file->get(), 3, 4), 4U);
  EXPECT_EQ(*sys::sendfile(pair.client.fd(), file->get(), 8, 100), 2U);
  EXPECT_EQ(*sys::sendfile(pair.client.fd(), file->get(), 10, 100), 0U);
  ASSERT_TRUE(pair.client.shutdown(Socket::How::write));
  std::string got;
  std::array<std::byte, 64> block{};
  while (test::wait_for(pair.server.fd(), POLLIN)) {
    const auto size = sys::recv(pair.server.fd(), block);
    ASSERT_TRUE(size);
    if (*size == 0) break;
    got.append(reinterpret_cast<const char*>(block.data()), *size);
  }
  EXPECT_EQ(got, "345689");
}

}  // namespace
}  // namespace weir
