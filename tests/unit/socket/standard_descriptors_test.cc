// A program that was started without standard input, output and error: what it, or a library,
// writes there must reach none of weir's descriptors.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/in_child.h"
#include "support/sockets.h"
#include "support/temp_files.h"
#include "support/valgrind.h"
#include "weir/net/service/descriptor_passing.h"
#include "weir/net/sys/sys.h"

namespace weir {
namespace {

namespace sys = internal::sys;

// Runs `body` in a child without the three, which then has them back to report what failed.
bool without_standard_descriptors(const std::function<void()>& body) {
  return test::in_child([&] {
    std::array<int, 3> kept{};
    for (int fd = 0; fd < 3; ++fd) {
      kept[static_cast<std::size_t>(fd)] = ::fcntl(fd, F_DUPFD_CLOEXEC, 100);
      ::close(fd);
    }
    body();
    for (int fd = 0; fd < 3; ++fd) ::dup2(kept[static_cast<std::size_t>(fd)], fd);
  });
}

TEST(StandardDescriptors, F57_EveryMakerLeavesThemAlone) {
  std::vector<std::pair<std::string, int>> made;
  EXPECT_TRUE(without_standard_descriptors([&] {
    std::vector<Fd> open;
    const auto note = [&](const char* what, SysResult<Fd> fd) {
      made.emplace_back(what, fd ? fd->get() : -fd.error().value());
      if (fd) open.push_back(std::move(*fd));
    };
    auto listener = sys::socket(AF_UNIX, SOCK_STREAM, 0);
    const int listening = listener->get();
    const sockaddr any{.sa_family = AF_UNIX, .sa_data = {}};
    static_cast<void>(sys::bind(listening, &any, sizeof(sa_family_t)));  // a name of the kernel's
    static_cast<void>(sys::listen(listening, 1));
    sockaddr_storage address{};
    const auto length = sys::getsockname(listening, address);
    auto client = sys::socket(AF_UNIX, SOCK_STREAM, 0);
    static_cast<void>(
        sys::connect(client->get(), reinterpret_cast<const sockaddr*>(&address), *length));
    note("accept", sys::accept(listening));
    note("socket", std::move(listener));
    note("socket", std::move(client));
    note("epoll", sys::epoll_create());
    note("eventfd", sys::eventfd());
    sigset_t none;
    sigemptyset(&none);
    note("signalfd", sys::signalfd(none));
    note("open", sys::open("/dev/null", O_RDONLY));
    note("duplicate", sys::duplicate(listening));
    auto pipe = sys::pipe();
    note("pipe", std::move(pipe->reading));
    note("pipe", std::move(pipe->writing));
    auto pair = sys::socket_pair();
    note("socket_pair", std::move(pair->first));
    note("socket_pair", std::move(pair->second));
    EXPECT_EQ(::fcntl(0, F_GETFD), -1);
    EXPECT_EQ(::fcntl(1, F_GETFD), -1);
    EXPECT_EQ(::fcntl(2, F_GETFD), -1);
    for (const auto& [what, fd] : made) {
      EXPECT_GE(fd, 3) << what;
      EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << what;
    }
    EXPECT_NE(::fcntl(listening, F_GETFL) & O_NONBLOCK, 0);
  }));
}

TEST(StandardDescriptors, F57_ReceivedOnesToo) {
  EXPECT_TRUE(without_standard_descriptors([] {
    auto pair = test::connected_pair(test::abstract_address("standard"));
    const std::array<int, 2> sent{pair.client.fd(), pair.server.fd()};
    std::array<std::byte, 1> byte{};
    EXPECT_TRUE(send_descriptors(pair.client, byte, sent));
    const auto received = receive_descriptors(pair.server, byte);
    EXPECT_TRUE(received);
    if (!received) return;
    EXPECT_EQ(received->descriptors.size(), 2u);
    for (const Fd& fd : received->descriptors) EXPECT_GE(fd.get(), 3);
  }));
}

TEST(StandardDescriptors, F57_WithoutRoomForAnotherItIsAnErrorAndLeavesNothing) {
  if (test::under_valgrind()) GTEST_SKIP() << "Valgrind keeps RLIMIT_NOFILE itself";
  EXPECT_TRUE(without_standard_descriptors([] {
    rlimit old{};
    ::getrlimit(RLIMIT_NOFILE, &old);
    const rlimit three{.rlim_cur = 3, .rlim_max = old.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &three);
    const auto made = sys::eventfd();
    ::setrlimit(RLIMIT_NOFILE, &old);
    EXPECT_EQ(test::errno_of(made), EINVAL);  // of F_DUPFD: 3 is not below the limit
    EXPECT_EQ(::fcntl(0, F_GETFD), -1);
  }));
}

}  // namespace
}  // namespace weir
