// Descriptors that cross a Unix socket: F72, none is left open, for any bytes of the peer.
#include "weir/net/service/descriptor_passing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.h"
#include "support/fault_table.h"
#include "support/in_child.h"
#include "support/process_state.h"
#include "support/sockets.h"
#include "support/temp_files.h"
#include "support/valgrind.h"

namespace weir {
namespace {

using test::bytes_of;
using test::Call;
using test::errno_of;
using test::FaultTable;
using test::open_descriptors;
using test::ScopedFaults;

test::Pair unix_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
  return {.client = Socket(Fd(ends[0])), .server = Socket(Fd(ends[1]))};
}

std::vector<Fd> many_files(std::size_t n) {
  std::vector<Fd> files;
  for (std::size_t i = 0; i < n; ++i) files.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
  return files;
}

std::vector<int> numbers(const std::vector<Fd>& files) {
  std::vector<int> result;
  for (const Fd& file : files) result.push_back(file.get());
  return result;
}

bool close_on_exec(const Fd& fd) { return (::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0; }

TEST(DescriptorPassing, F72_WhatArrivesIsTheSameFileAndCloseOnExec) {
  auto pair = unix_pair();
  auto pipe = unix_pair();
  const int sent = pipe.client.fd();
  ASSERT_EQ(send_descriptors(pair.client, bytes_of("take this"), std::span(&sent, 1)), 9u);
  std::array<std::byte, 64> into{};
  auto received = receive_descriptors(pair.server, into);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->bytes, 9u);
  EXPECT_EQ(std::memcmp(into.data(), "take this", 9), 0);
  ASSERT_EQ(received->descriptors.size(), 1u);
  EXPECT_TRUE(close_on_exec(received->descriptors[0]));
  pipe.client.close();
  Socket other_end(std::move(received->descriptors[0]));
  EXPECT_EQ(other_end.send(bytes_of("x")), 1u);
  EXPECT_EQ(pipe.server.receive(into), 1u);
}

TEST(DescriptorPassing, BytesAloneAndTheEndOfTheStream) {
  auto pair = unix_pair();
  ASSERT_EQ(send_descriptors(pair.client, bytes_of("ab"), {}), 2u);
  pair.client.close();
  std::array<std::byte, 64> into{};
  auto received = receive_descriptors(pair.server, into);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->bytes, 2u);
  EXPECT_TRUE(received->descriptors.empty());
  received = receive_descriptors(pair.server, into);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->bytes, 0u);
}

TEST(DescriptorPassing, AnEmptySocketSaysEagain) {
  auto pair = unix_pair();
  std::array<std::byte, 64> into{};
  EXPECT_EQ(errno_of(receive_descriptors(pair.server, into)), EAGAIN);
}

TEST(DescriptorPassing, F72_AsManyAsTheKernelTakesAndNoMore) {
  auto pair = unix_pair();
  const auto files = many_files(kMaxPassedDescriptors + 1);
  const auto all = numbers(files);
  EXPECT_EQ(errno_of(send_descriptors(pair.client, bytes_of("x"), all)), EINVAL);
  EXPECT_EQ(errno_of(send_descriptors(pair.client, {}, std::span(all).first(1))), EINVAL);
  ASSERT_EQ(send_descriptors(pair.client, bytes_of("x"), std::span(all).first(all.size() - 1)), 1u);
  std::array<std::byte, 8> into{};
  auto received = receive_descriptors(pair.server, into);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->descriptors.size(), kMaxPassedDescriptors);
  for (const Fd& fd : received->descriptors) EXPECT_TRUE(close_on_exec(fd));
}

TEST(DescriptorPassing, F72_MoreThanWereAskedForAreClosed) {
  auto pair = unix_pair();
  const auto files = many_files(5);
  ASSERT_EQ(send_descriptors(pair.client, bytes_of("x"), numbers(files)), 1u);
  const auto before = open_descriptors();
  std::array<std::byte, 8> into{};
  EXPECT_EQ(errno_of(receive_descriptors(pair.server, into, 4)), EMSGSIZE);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(DescriptorPassing, F72_WithoutRoomForAllNoneIsKept) {
  if (test::under_valgrind()) GTEST_SKIP() << "Valgrind keeps RLIMIT_NOFILE itself";
  EXPECT_TRUE(test::in_child([] {
    auto pair = unix_pair();
    const auto files = many_files(8);
    ASSERT_EQ(send_descriptors(pair.client, bytes_of("x"), numbers(files)), 1u);
    const auto before = open_descriptors();
    rlimit old{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
    // Numbers are given out lowest first, so those below the last one are taken.
    const rlimit less{.rlim_cur = static_cast<rlim_t>(files.back().get()) + 4,
                      .rlim_max = old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &less), 0);
    std::array<std::byte, 8> into{};
    EXPECT_EQ(errno_of(receive_descriptors(pair.server, into)), EMSGSIZE);
    EXPECT_EQ(open_descriptors(), before);
  }));
}

TEST(DescriptorPassing, F63_WithoutMemoryNoneIsLeftOpen) {
  if (!test::AllocationCount::available()) GTEST_SKIP() << "the sanitizer's operator new is in use";
  auto pair = unix_pair();
  const auto files = many_files(3);
  ASSERT_TRUE(send_descriptors(pair.client, bytes_of("x"), numbers(files)));
  const std::size_t before = open_descriptors().size();
  std::array<std::byte, 8> into{};
  {
    const test::FailAllocation fail(1);
    EXPECT_THROW(static_cast<void>(receive_descriptors(pair.server, into)), std::bad_alloc);
  }
  EXPECT_EQ(open_descriptors().size(), before);
}

TEST(DescriptorPassing, F72_CutControlDataIsRefused) {
  auto pair = unix_pair();
  const auto files = many_files(3);
  ASSERT_EQ(send_descriptors(pair.client, bytes_of("x"), numbers(files)), 1u);
  const auto before = open_descriptors();

  // A kernel that cuts what it hands out.
  class Cutting final : public internal::SysTable {
    ssize_t recvmsg(int fd, msghdr* message, int flags) override {
      EXPECT_NE(flags & MSG_CMSG_CLOEXEC, 0);
      message->msg_controllen = CMSG_SPACE(sizeof(int));
      return SysTable::recvmsg(fd, message, flags);
    }
  } cutting;
  {
    const internal::sys::ScopedTable use(&cutting);
    std::array<std::byte, 8> into{};
    EXPECT_EQ(errno_of(receive_descriptors(pair.server, into)), EMSGSIZE);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(DescriptorPassing, F72_AnInterruptedCallIsMadeAgainAndAnErrorIsTold) {
  FaultTable faults;
  const ScopedFaults use(faults);
  auto pair = unix_pair();
  faults.on(Call::sendmsg).nth(1).fail(EINTR);
  faults.on(Call::recvmsg).nth(1).fail(EINTR);
  const int fd = pair.client.fd();
  ASSERT_EQ(send_descriptors(pair.client, bytes_of("x"), std::span(&fd, 1)), 1u);
  std::array<std::byte, 8> into{};
  const auto received = receive_descriptors(pair.server, into);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->descriptors.size(), 1u);
  faults.on(Call::sendmsg).fail(ETOOMANYREFS);
  EXPECT_EQ(errno_of(send_descriptors(pair.client, bytes_of("x"), std::span(&fd, 1))),
            ETOOMANYREFS);
}

TEST(PeerCredentials, SayWhoIsAtTheOtherEnd) {
  const test::TempFolder folder;
  auto pair = test::connected_pair("unix:" + folder.file("s"));
  const auto client = pair.server.peer_credentials();
  ASSERT_TRUE(client);
  EXPECT_EQ(client->pid, ::getpid());
  EXPECT_EQ(client->uid, ::geteuid());
  EXPECT_EQ(client->gid, ::getegid());
  EXPECT_TRUE(pair.client.peer_credentials());
}

TEST(PeerCredentials, AreAnErrorWhereThereAreNone) {
  const auto lonely = Socket::stream(SocketAddress::Family::unix_path);
  ASSERT_TRUE(lonely);
  EXPECT_EQ(errno_of(lonely->peer_credentials()), ENOTCONN);
  const auto tcp = test::connected_pair();
  EXPECT_EQ(errno_of(tcp.client.peer_credentials()), EOPNOTSUPP);
  EXPECT_EQ(errno_of(Socket().peer_credentials()), EBADF);
}

}  // namespace
}  // namespace weir
