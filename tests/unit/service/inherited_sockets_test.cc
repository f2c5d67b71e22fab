// Sockets that were opened elsewhere: LISTEN_FDS, and what ListeningSocket::adopt takes and
// refuses.
#include "weir/net/service/inherited_sockets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/in_child.h"
#include "support/process_state.h"
#include "support/sockets.h"
#include "support/temp_files.h"

namespace weir {
namespace {

using test::Call;
using test::FaultTable;
using test::open_descriptors;
using test::ScopedFaults;

int blocking_listener(int type = SOCK_STREAM) {
  const int fd = ::socket(AF_INET, type, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof(any)), 0);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(::listen(fd, 16), 0);
  }
  return fd;
}

void set_variables(const std::string& pid, const std::string& fds, const char* names) {
  ::setenv("LISTEN_PID", pid.c_str(), 1);
  ::setenv("LISTEN_FDS", fds.c_str(), 1);
  if (names != nullptr) ::setenv("LISTEN_FDNAMES", names, 1);
}

// In a child whose descriptors from 3 on are these.
void with_descriptors(const std::vector<int>& fds, const std::function<void()>& body) {
  ASSERT_TRUE(test::in_child([&] {
    std::vector<int> high;
    for (const int fd : fds) high.push_back(::fcntl(fd, F_DUPFD, 100));
    for (int fd = 3; fd < 100; ++fd) ::close(fd);
    for (std::size_t i = 0; i < high.size(); ++i) {
      ::dup2(high[i], 3 + static_cast<int>(i));
      ::close(high[i]);
    }
    body();
  }));
  for (const int fd : fds) ::close(fd);
}

TEST(InheritedSockets, NoneWithoutTheVariables) {
  const auto taken = take_inherited_sockets();
  ASSERT_TRUE(taken);
  EXPECT_TRUE(taken->empty());
}

TEST(InheritedSockets, F72_AreOursFromThenOn) {
  with_descriptors({blocking_listener(), blocking_listener(), blocking_listener()}, [] {
    set_variables(std::to_string(::getpid()), "3", "web::admin");
    auto taken = take_inherited_sockets();
    ASSERT_TRUE(taken) << taken.error().message();
    ASSERT_EQ(taken->size(), 3u);
    EXPECT_EQ((*taken)[0].name, "web");
    EXPECT_EQ((*taken)[1].name, "unknown");
    EXPECT_EQ((*taken)[2].name, "admin");
    for (InheritedSocket& inherited : *taken) {
      EXPECT_NE(::fcntl(inherited.socket.fd(), F_GETFD) & FD_CLOEXEC, 0);
      EXPECT_NE(::fcntl(inherited.socket.fd(), F_GETFL) & O_NONBLOCK, 0);
      EXPECT_NE(inherited.socket.address().port(), 0);
      const Socket client = test::connect_to(inherited.socket.address());
      EXPECT_TRUE(test::accept_from(inherited.socket).valid());
    }
    EXPECT_EQ(std::getenv("LISTEN_PID"), nullptr);
    EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr);
    EXPECT_EQ(std::getenv("LISTEN_FDNAMES"), nullptr);
    taken->clear();
    EXPECT_FALSE(open_descriptors().contains(3));
  });
}

TEST(InheritedSockets, ThoseOfAnotherProcessAreNotTouched) {
  with_descriptors({blocking_listener()}, [] {
    set_variables(std::to_string(::getppid()), "1", nullptr);
    const auto taken = take_inherited_sockets();
    ASSERT_TRUE(taken);
    EXPECT_TRUE(taken->empty());
    EXPECT_EQ(::fcntl(3, F_GETFD), 0) << "still inherited by others";
    EXPECT_EQ(std::getenv("LISTEN_PID"), nullptr);
  });
}

TEST(InheritedSockets, F72_OneThatDoesNotFitClosesAll) {
  with_descriptors({blocking_listener(), blocking_listener(SOCK_DGRAM), blocking_listener()}, [] {
    set_variables(std::to_string(::getpid()), "3", "web:syslog:admin");
    const auto taken = take_inherited_sockets();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().message(),
              "inherited socket syslog: take over descriptor 4: it is not a stream socket: Socket "
              "type not supported");
    for (const int fd : {3, 4, 5}) EXPECT_FALSE(open_descriptors().contains(fd)) << fd;
  });
}

// A count that is too large covers what this process has opened itself, such as a loop's epoll
// descriptor: none of it was inherited.
TEST(InheritedSockets, F72_ACountThatIsTooLargeClosesNothingOfOurs) {
  with_descriptors({blocking_listener()}, [] {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    ASSERT_EQ(epoll.get(), 4);
    set_variables(std::to_string(::getpid()), "4", nullptr);
    const auto taken = take_inherited_sockets();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().message(),
              "inherited sockets: LISTEN_FDS is 4, but descriptor 4 was opened by this process: "
              "Invalid argument");
    for (const int fd : {3, 4}) EXPECT_TRUE(open_descriptors().contains(fd)) << fd;
  });
  with_descriptors({blocking_listener()}, [] {
    set_variables(std::to_string(::getpid()), "2", nullptr);
    const auto taken = take_inherited_sockets();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().message(),
              "inherited sockets: LISTEN_FDS is 2, but descriptor 4 is not open: Invalid argument");
  });
}

TEST(InheritedSockets, AnAbsurdCountIsRefused) {
  for (const char* count : {"-1", "many", "3x", "1025", "99999999999999999999"}) {
    set_variables(std::to_string(::getpid()), count, nullptr);
    const auto taken = take_inherited_sockets();
    ASSERT_FALSE(taken) << count;
    EXPECT_EQ(taken.error().code(), EINVAL);
  }
}

// --- adopt ---------------------------------------------------------------------------------------

Error not_adopted(Fd fd) {
  const auto before = open_descriptors().size();
  const auto adopted = ListeningSocket::adopt(std::move(fd));
  if (adopted) {
    ADD_FAILURE() << "was adopted";
    return Error("none");
  }
  EXPECT_EQ(open_descriptors().size(), before - 1) << "it is closed";
  return adopted.error();
}

TEST(AdoptedSocket, MustBeAStreamSocketThatListens) {
  auto idle = Socket::stream(SocketAddress::Family::ipv4);
  EXPECT_EQ(not_adopted(idle->take_fd()).code(), EINVAL);
  auto datagram = Socket::datagram(SocketAddress::Family::ipv4);
  EXPECT_EQ(not_adopted(datagram->take_fd()).code(), ESOCKTNOSUPPORT);
  EXPECT_EQ(not_adopted(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))).code(), ENOTSOCK);
  auto connected = test::connected_pair();
  EXPECT_EQ(not_adopted(connected.server.take_fd()).code(), EINVAL);
  EXPECT_EQ(ListeningSocket::adopt(Fd()).error().code(), EBADF);
}

TEST(AdoptedSocket, F72_AKernelThatRefusesIsAnErrorAndLeavesNothing) {
  for (const Call call : {Call::getsockopt, Call::getsockname, Call::fcntl}) {
    FaultTable faults;
    const ScopedFaults use(faults);
    Fd fd(blocking_listener());
    faults.on(call).fail(ENOBUFS);
    not_adopted(std::move(fd));
  }
}

TEST(AdoptedSocket, SharesTheQueue) {
  auto first = test::listen_on("127.0.0.1:0");
  auto copy = first.duplicate();
  ASSERT_TRUE(copy);
  auto second = ListeningSocket::adopt(std::move(*copy));
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(second->address(), first.address());
  const Socket client = test::connect_to(first.address());
  ASSERT_TRUE(test::wait_for(first.fd(), POLLIN));
  first.close();
  EXPECT_TRUE(test::accept_from(*second).valid()) << "what was queued is not lost";
}

TEST(AdoptedSocket, F70_TheFileStaysUnlessItWasHandedOverToo) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto first = test::listen_on("unix:" + path);
  auto second = ListeningSocket::adopt(std::move(*first.duplicate()));
  auto third = ListeningSocket::adopt(std::move(*first.duplicate()));
  ASSERT_TRUE(second && third);

  *second = ListeningSocket();  // never was its to remove
  EXPECT_TRUE(std::filesystem::exists(path));

  auto ours = std::make_shared<std::atomic<bool>>(false);
  third->own_file(first.file(), ours);
  first.leave_file();
  first.close();
  EXPECT_TRUE(std::filesystem::exists(path)) << "left to the third";
  ours->store(true);
  third->close();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(AdoptedSocket, F70_ATakeOverThatFailsLeavesTheFile) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto first = test::listen_on("unix:" + path);
  {
    auto second = ListeningSocket::adopt(std::move(*first.duplicate()));
    ASSERT_TRUE(second);
    second->own_file(first.file(), std::make_shared<std::atomic<bool>>(false));
  }
  EXPECT_TRUE(std::filesystem::exists(path));
  const Socket client = test::connect_to(first.address());
  EXPECT_TRUE(test::accept_from(first).valid());
}

TEST(ForkedListener, F17_AChildLeavesTheFileToItsParent) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto listener = test::listen_on("unix:" + path);
  ASSERT_TRUE(test::in_child([&] {
    listener.close();
    EXPECT_TRUE(std::filesystem::exists(path));
  }));
  EXPECT_TRUE(std::filesystem::exists(path));
  listener.close();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace weir
