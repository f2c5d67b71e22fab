#include "weir/net/sys/sys.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/sockets.h"

namespace weir {
namespace {

namespace sys = internal::sys;
using namespace std::chrono_literals;
using internal::SysTable;
using test::Call;
using test::errno_of;
using test::FaultTable;
using test::ScopedFaults;

// One call of every wrapper on descriptor -1, and its errno. What the kernel would say to -1
// doesn't matter, as the table answers.
struct Wrapper {
  const char* name;
  Call made;
  std::function<Errno()> call;
};

std::vector<Wrapper> wrappers() {
  static sockaddr_storage address{};
  static const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
  static std::array<std::byte, 8> block{};
  static iovec vector{.iov_base = block.data(), .iov_len = block.size()};
  static int value = 0;
  static socklen_t length = sizeof(value);
  static sigset_t mask{};
  return {
      {"socket", Call::socket, [] { return errno_of(sys::socket(AF_INET, SOCK_STREAM, 0)); }},
      {"bind", Call::bind, [] { return errno_of(sys::bind(-1, raw, sizeof(address))); }},
      {"listen", Call::listen, [] { return errno_of(sys::listen(-1, 1)); }},
      {"accept", Call::accept4, [] { return errno_of(sys::accept(-1)); }},
      {"connect", Call::connect, [] { return errno_of(sys::connect(-1, raw, sizeof(address))); }},
      {"shutdown", Call::shutdown, [] { return errno_of(sys::shutdown(-1, SHUT_WR)); }},
      {"getsockopt", Call::getsockopt,
       [] { return errno_of(sys::getsockopt(-1, SOL_SOCKET, SO_ERROR, &value, &length)); }},
      {"setsockopt", Call::setsockopt,
       [] { return errno_of(sys::setsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &value, length)); }},
      {"getsockname", Call::getsockname, [] { return errno_of(sys::getsockname(-1, address)); }},
      {"getpeername", Call::getpeername, [] { return errno_of(sys::getpeername(-1, address)); }},
      {"recv", Call::recv, [] { return errno_of(sys::recv(-1, block)); }},
      {"recv_vectors", Call::recvmsg,
       [] {
         return errno_of(sys::recv_vectors(-1, {&vector, 1}));
       }},
      {"send", Call::send, [] { return errno_of(sys::send(-1, block)); }},
      {"send_vectors", Call::sendmsg,
       [] {
         return errno_of(sys::send_vectors(-1, {&vector, 1}));
       }},
      {"sendfile", Call::sendfile, [] { return errno_of(sys::sendfile(-1, -1, 0, 1)); }},
      {"read", Call::read, [] { return errno_of(sys::read(-1, block)); }},
      {"write", Call::write, [] { return errno_of(sys::write(-1, block)); }},
      {"epoll_create", Call::epoll_create1, [] { return errno_of(sys::epoll_create()); }},
      {"epoll_ctl", Call::epoll_ctl,
       [] { return errno_of(sys::epoll_ctl(-1, EPOLL_CTL_ADD, -1, EPOLLIN, 1)); }},
      {"eventfd", Call::eventfd, [] { return errno_of(sys::eventfd()); }},
      {"signalfd", Call::signalfd, [] { return errno_of(sys::signalfd(mask)); }},
      {"open", Call::open, [] { return errno_of(sys::open("/dev/null", O_RDONLY)); }},
      {"openat", Call::openat, [] { return errno_of(sys::openat(-1, "file", O_RDONLY)); }},
      {"stat", Call::stat, [] { return errno_of(sys::stat("/dev/null")); }},
      {"fstat", Call::fstat, [] { return errno_of(sys::fstat(-1)); }},
      {"fstatat", Call::fstatat, [] { return errno_of(sys::fstatat(-1, "file")); }},
      {"unlinkat", Call::unlinkat, [] { return errno_of(sys::unlinkat(-1, "file")); }},
      {"chmod", Call::chmod, [] { return errno_of(sys::chmod("/no/such/file", 0600)); }},
      {"fchmod", Call::fchmod, [] { return errno_of(sys::fchmod(-1, 0600)); }},
  };
}

TEST(Sys, TheKernelIsTheTableUntilItIsReplaced) {
  EXPECT_EQ(&sys::table(), &sys::kernel_table());
  SysTable first;
  SysTable second;
  EXPECT_EQ(sys::exchange_table(&first), nullptr);
  EXPECT_EQ(&sys::table(), &first);
  {
    const sys::ScopedTable scoped(&second);
    EXPECT_EQ(&sys::table(), &second);
    const sys::ScopedTable kernel(nullptr);
    EXPECT_EQ(&sys::table(), &sys::kernel_table());
  }
  EXPECT_EQ(&sys::table(), &first);
  EXPECT_EQ(sys::exchange_table(nullptr), &first);
  EXPECT_EQ(&sys::table(), &sys::kernel_table());
}

TEST(Sys, ATableIsOfOneThread) {
  SysTable mine;
  const sys::ScopedTable scoped(&mine);
  const SysTable* seen = nullptr;
  std::thread([&] { seen = &sys::table(); }).join();
  EXPECT_EQ(seen, &sys::kernel_table());
  EXPECT_EQ(&sys::table(), &mine);
}

TEST(Sys, F72_DescriptorsCloseThroughTheTableAndOnlyOnce) {
  for (const int error : {0, EINTR, EIO}) {
    auto kernel_fd = sys::eventfd();
    ASSERT_TRUE(kernel_fd);
    const int number = kernel_fd->get();
    FaultTable faults;
    if (error != 0) faults.on(Call::close).fail(error);
    {
      const ScopedFaults use(faults);
      kernel_fd->reset();
      EXPECT_EQ(faults.count(Call::close), 1U) << "close must not be repeated after " << error;
      EXPECT_FALSE(kernel_fd->valid());
    }
    EXPECT_EQ(fcntl(number, F_GETFD), -1);
    Fd after = std::move(*sys::eventfd());
    after.reset();
    EXPECT_EQ(faults.count(Call::close), 1U) << "the kernel closes again once the table is gone";
  }
}

TEST(Sys, F16_F57_EveryErrnoComesBackAsAValue) {
  for (const Wrapper& wrapper : wrappers()) {
    for (const int error : {EAGAIN, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM, EACCES, EEXIST, ENOENT,
                            ENOSPC, ECONNRESET, EPIPE, EIO, EINVAL, EBADF, ENOSYS, EINPROGRESS}) {
      FaultTable faults;
      faults.on(wrapper.made).nth(1).fail(error);
      const ScopedFaults use(faults);
      EXPECT_EQ(wrapper.call(), Errno(error)) << wrapper.name;
      EXPECT_EQ(faults.count(wrapper.made), 1U) << wrapper.name;
    }
  }
}

TEST(Sys, F15_CallsThatASignalInterruptedAreMadeAgain) {
  const auto again = {"bind",         "accept",   "recv", "recv_vectors", "send",
                      "send_vectors", "sendfile", "read", "write",        "open"};
  for (const Wrapper& wrapper : wrappers()) {
    if (std::ranges::find(again, std::string_view(wrapper.name)) == again.end()) continue;
    FaultTable faults;
    faults.on(wrapper.made).first(5).fail(EINTR);
    const ScopedFaults use(faults);
    EXPECT_NE(wrapper.call(), Errno(EINTR)) << wrapper.name;
    EXPECT_EQ(faults.count(wrapper.made), 6U) << wrapper.name;
  }
}

TEST(Sys, F44_AnInterruptedConnectIsInProgressAndNotRepeated) {
  FaultTable faults;
  faults.on(Call::connect).fail(EINTR);
  const ScopedFaults use(faults);
  const SocketAddress address = SocketAddress::loopback_ipv4(1);
  EXPECT_EQ(errno_of(sys::connect(-1, address.data(), address.size())), Errno(EINPROGRESS));
  EXPECT_EQ(faults.count(Call::connect), 1U);
}

TEST(Sys, F09_NothingToReadIsEagainAndTheEndIsZero) {
  auto pair = test::connected_pair();
  std::array<std::byte, 8> block{};
  EXPECT_EQ(errno_of(sys::recv(pair.server.fd(), block)), Errno(EAGAIN));
  EXPECT_EQ(*sys::send(pair.client.fd(), test::bytes_of("abc")), 3U);
  ASSERT_TRUE(test::wait_for(pair.server.fd(), POLLIN));
  EXPECT_EQ(*sys::recv(pair.server.fd(), block), 3U);
  pair.client.close();
  ASSERT_TRUE(test::wait_for(pair.server.fd(), POLLIN));
  EXPECT_EQ(*sys::recv(pair.server.fd(), block), 0U);
}

TEST(Sys, VectorsAreReadInOrder) {
  auto pair = test::connected_pair();
  ASSERT_EQ(*sys::send(pair.client.fd(), test::bytes_of("abcdef")), 6U);
  ASSERT_TRUE(test::wait_for(pair.server.fd(), POLLIN));
  std::array<char, 2> first{};
  std::array<char, 10> second{};
  std::array<iovec, 2> vectors{iovec{first.data(), first.size()},
                               iovec{second.data(), second.size()}};
  EXPECT_EQ(*sys::recv_vectors(pair.server.fd(), vectors), 6U);
  EXPECT_EQ(std::string_view(first.data(), 2), "ab");
  EXPECT_EQ(std::string_view(second.data(), 4), "cdef");
}

TEST(Sys, F57_EventfdThatIsFullIsEagain) {
  auto event = sys::eventfd();
  ASSERT_TRUE(event);
  const std::uint64_t most = ~std::uint64_t{0} - 1;
  ASSERT_TRUE(sys::write(event->get(), std::as_bytes(std::span(&most, 1))));
  const std::uint64_t one = 1;
  EXPECT_EQ(errno_of(sys::write(event->get(), std::as_bytes(std::span(&one, 1)))), Errno(EAGAIN));
  std::uint64_t value = 0;
  EXPECT_EQ(*sys::read(event->get(), std::as_writable_bytes(std::span(&value, 1))), sizeof(value));
  EXPECT_EQ(value, most);
  EXPECT_EQ(errno_of(sys::read(event->get(), std::as_writable_bytes(std::span(&value, 1)))),
            Errno(EAGAIN));
}

TEST(Sys, F50_NowIsTheMonotonicClockOfTheTable) {
  class FixedClock : public SysTable {
   public:
    clockid_t asked = -1;
    int clock_gettime(clockid_t clock, timespec* time) override {
      asked = clock;
      *time = {.tv_sec = 5, .tv_nsec = 7};
      return 0;
    }
  } fixed;
  {
    const sys::ScopedTable scoped(&fixed);
    EXPECT_EQ(sys::now(), TimePoint(5s + 7ns));
    EXPECT_EQ(fixed.asked, CLOCK_MONOTONIC);
  }
  const TimePoint before = Clock::now();
  const TimePoint now = sys::now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, Clock::now());
}

TEST(Sys, F72_DescriptorsAreCloexecAndNonblocking) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  struct Made {
    const char* name;
    SysResult<Fd> fd;
    bool nonblocking;
  };
  Made made[] = {
      {"socket", sys::socket(AF_INET, SOCK_STREAM, 0), true},
      {"epoll", sys::epoll_create(), false},
      {"eventfd", sys::eventfd(), true},
      {"signalfd", sys::signalfd(mask), true},
      {"file", sys::open("/dev/null", O_RDONLY), false},
  };
  for (const Made& m : made) {
    ASSERT_TRUE(m.fd) << m.name;
    EXPECT_TRUE((fcntl(m.fd->get(), F_GETFD) & FD_CLOEXEC) != 0) << m.name;
    EXPECT_TRUE(!m.nonblocking || (fcntl(m.fd->get(), F_GETFL) & O_NONBLOCK) != 0) << m.name;
  }
}

}  // namespace
}  // namespace weir
