#include "weir/net/socket/listening_socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/process_state.h"
#include "support/sockets.h"
#include "support/temp_files.h"
#include "weir/net/sys/sys.h"

namespace weir {
namespace {

namespace fs = std::filesystem;
namespace sys = internal::sys;
using Family = SocketAddress::Family;
using internal::SysTable;
using test::has_ipv6;
using test::option;
using test::path_address;
using test::refused;

TEST(ListeningSocket, TellsThePortThatTheKernelChose) {
  auto listener = test::listen_on("127.0.0.1:0");
  EXPECT_NE(listener.address().port(), 0);
  EXPECT_EQ(listener.address(), listener.socket().local_address());
  auto client = test::connect_to(listener.address());
  EXPECT_TRUE(test::accept_from(listener).valid());
}

TEST(ListeningSocket, F46_OptionsAreSetAndInherited) {
  auto listener = test::listen_on("127.0.0.1:0", {.keep_alive = true});
  EXPECT_EQ(option(listener.fd(), SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_EQ(option(listener.fd(), SOL_SOCKET, SO_REUSEPORT), 0);
  auto client = test::connect_to(listener.address());
  auto server = test::accept_from(listener);
  EXPECT_EQ(option(server.fd(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(option(server.fd(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(server.fd(), IPPROTO_TCP, TCP_KEEPIDLE), KeepAlive{}.idle.count());

  auto plain = test::listen_on("127.0.0.1:0", {.reuse_addr = false, .nodelay = false});
  EXPECT_EQ(option(plain.fd(), SOL_SOCKET, SO_REUSEADDR), 0);
  EXPECT_EQ(option(plain.fd(), IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(option(plain.fd(), SOL_SOCKET, SO_KEEPALIVE), 0);
}

TEST(ListeningSocket, ErrorsNameTheStepAndTheAddress) {
  auto listener = test::listen_on("127.0.0.1:0");
  const Error in_use = refused(listener.address());
  EXPECT_EQ(in_use.code(), EADDRINUSE);
  EXPECT_EQ(in_use.message(),
            "listen on " + listener.address().to_string() + ": bind: Address already in use");
  EXPECT_EQ(refused(*SocketAddress::parse("192.0.2.1:0")).code(), EADDRNOTAVAIL);
  EXPECT_EQ(refused(SocketAddress()).code(), EAFNOSUPPORT);
  EXPECT_EQ(refused(path_address("/no/such/folder/s")).code(), ENOENT);
}

TEST(ListeningSocket, ReusePortSharesAPort) {
  const ListenOptions options{.reuse_port = true};
  auto first = test::listen_on("127.0.0.1:0", options);
  auto second = ListeningSocket::open(first.address(), options);
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(second->address(), first.address());
  EXPECT_EQ(refused(first.address()).code(), EADDRINUSE) << "without the option it is not shared";
}

TEST(ListeningSocket, F46_AServerRestartsWhileConnectionsAreInTimeWait) {
  SocketAddress address;
  {
    auto listener = test::listen_on("127.0.0.1:0");
    address = listener.address();
    auto client = test::connect_to(address);
    auto server = test::accept_from(listener);
    server.close();  // the side that closes first waits
    ASSERT_TRUE(test::wait_for(client.fd(), POLLIN));
  }
  const auto again = ListeningSocket::open(address, {});
  EXPECT_TRUE(again) << again.error().message();
}

TEST(ListeningSocket, F71_DualStackTakesIpv4AsMappedAddresses) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  auto listener = test::listen_on("[::]:0");
  EXPECT_EQ(option(listener.fd(), IPPROTO_IPV6, IPV6_V6ONLY), 0);
  auto client = test::connect_to(SocketAddress::loopback_ipv4(listener.address().port()));
  auto server = test::accept_from(listener);
  EXPECT_TRUE(server.peer_address().is_v4_mapped());
  EXPECT_EQ(server.peer_address().without_v4_mapping(), client.local_address());
  auto client6 = test::connect_to(SocketAddress::loopback_ipv6(listener.address().port()));
  auto server6 = test::accept_from(listener);
  EXPECT_EQ(server6.peer_address(), client6.local_address());
  EXPECT_FALSE(server6.peer_address().is_v4_mapped());
}

TEST(ListeningSocket, F71_V6OnlyLeavesIpv4Alone) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  auto listener = test::listen_on("[::]:0", {.v6_only = true});
  EXPECT_EQ(option(listener.fd(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  // The same port of IPv4 is free for another listener.
  const auto ipv4 = SocketAddress::from_ip("0.0.0.0", listener.address().port());
  const auto other = ListeningSocket::open(*ipv4, {});
  EXPECT_TRUE(other) << other.error().message();
}

TEST(ListeningSocket, F40_ConnectionsCompleteBeforeAcceptUpToTheBacklog) {
  // Behind one backlog there are two queues: the kernel answers SYNs and completes handshakes
  // alone, and only then does the connection wait for accept. Linux lets backlog + 1 of them wait.
  constexpr int kBacklog = 3;
  auto listener = test::listen_on("127.0.0.1:0", {.backlog = kBacklog});
  std::vector<Socket> clients;
  for (int i = 0; i <= kBacklog; ++i) {
    clients.push_back(test::connect_to(listener.address()));
    ASSERT_TRUE(test::wait_for(clients.back().fd(), POLLOUT));
    EXPECT_EQ(clients.back().error(), 0);
    EXPECT_EQ(clients.back().tcp_info()->tcpi_state, TCP_ESTABLISHED);
  }
  // tcp_info of a listener holds how many connections wait, and the limit.
  EXPECT_EQ(listener.socket().tcp_info()->tcpi_unacked, kBacklog + 1U);
  EXPECT_EQ(listener.socket().tcp_info()->tcpi_sacked, static_cast<unsigned>(kBacklog));

  // The next client's SYN is dropped; it gets in when it asks again after there is room.
  Socket late = test::connect_to(listener.address());
  EXPECT_EQ(late.tcp_info()->tcpi_state, TCP_SYN_SENT);
  auto first = test::accept_from(listener);
  EXPECT_EQ(first.peer_address(), clients.front().local_address()) << "first come, first served";
  ASSERT_TRUE(test::wait_for(late.fd(), POLLOUT));
  EXPECT_EQ(late.error(), 0);
}

TEST(ListeningSocket, F40_ABacklogThatTheKernelCutsIsWarnedAboutOnce) {
  const int most = max_backlog();
  ASSERT_GT(most, 0);
  test::ExpectLog warning("somaxconn");
  auto within = test::listen_on("127.0.0.1:0", {.backlog = most});
  EXPECT_EQ(warning.count(), 0U);
  auto above = test::listen_on("127.0.0.1:0", {.backlog = most + 1});
  ASSERT_EQ(warning.count(), 1U);
  EXPECT_NE(warning.lines()[0].find(std::to_string(most)), std::string::npos);
}

TEST(ListeningSocket, F40_MaxBacklogHasADefault) {
  class NoProc : public SysTable {
    int open(const char*, int, mode_t) override {
      errno = ENOENT;
      return -1;
    }
  } table;
  const sys::ScopedTable scoped(&table);
  EXPECT_EQ(max_backlog(), 4096);
}

TEST(ListeningSocket, F42_AfterRefuseNewTheQueueIsServedAndNobodyElse) {
  auto listener = test::listen_on("127.0.0.1:0");
  auto queued = test::connect_to(listener.address());
  ASSERT_TRUE(test::wait_for(queued.fd(), POLLOUT));
  listener.refuse_new();
  // A new client is neither let in nor reset: it goes on asking, and finds the next server.
  auto late = test::connect_to(listener.address());
  EXPECT_EQ(late.tcp_info()->tcpi_state, TCP_SYN_SENT);
  auto server = test::accept_from(listener);
  EXPECT_EQ(server.peer_address(), queued.local_address());
  EXPECT_EQ(listener.socket().accept().error(), EAGAIN);
  EXPECT_EQ(late.tcp_info()->tcpi_state, TCP_SYN_SENT);
  // The accepted connection works as before.
  ASSERT_EQ(*queued.send(test::bytes_of("ping")), 4U);
  ASSERT_TRUE(test::wait_for(server.fd(), POLLIN));
  std::array<std::byte, 8> block{};
  EXPECT_EQ(*server.receive(block), 4U);
  ASSERT_TRUE(server.shutdown(Socket::How::write));
  ASSERT_TRUE(test::wait_for(queued.fd(), POLLIN));
  EXPECT_EQ(*queued.receive(block), 0U);
}

TEST(ListeningSocket, F39_AnEndIsNewsOnceAndNotWhenItWasWanted) {
  auto listener = test::listen_on("127.0.0.1:0");
  EXPECT_TRUE(listener.end_is_news());
  EXPECT_FALSE(listener.end_is_news());
  auto wanted = test::listen_on("127.0.0.1:0");
  wanted.refuse_new();
  ListeningSocket moved(std::move(wanted));
  EXPECT_FALSE(moved.end_is_news());
}

// Lets the n-th call of a listener's set-up fail.
class NthCallFails : public SysTable {
 public:
  NthCallFails(int n, int error) : n_(n), error_(error) {}
  bool reached = false;
  const char* failed = "";

  int socket(int a, int b, int c) override {
    return fails("socket") ? -1 : SysTable::socket(a, b, c);
  }
  int setsockopt(int a, int b, int c, const void* d, socklen_t e) override {
    return fails("setsockopt") ? -1 : SysTable::setsockopt(a, b, c, d, e);
  }
  int bind(int a, const sockaddr* b, socklen_t c) override {
    return fails("bind") ? -1 : SysTable::bind(a, b, c);
  }
  int connect(int a, const sockaddr* b, socklen_t c) override {
    return fails("connect") ? -1 : SysTable::connect(a, b, c);
  }
  int listen(int a, int b) override { return fails("listen") ? -1 : SysTable::listen(a, b); }
  int getsockname(int a, sockaddr* b, socklen_t* c) override {
    return fails("getsockname") ? -1 : SysTable::getsockname(a, b, c);
  }
  int openat(int a, const char* b, int c) override {
    return fails("openat") ? -1 : SysTable::openat(a, b, c);
  }
  int fstat(int a, struct stat* b) override { return fails("fstat") ? -1 : SysTable::fstat(a, b); }
  int fstatat(int a, const char* b, struct stat* c, int d) override {
    return fails("fstatat") ? -1 : SysTable::fstatat(a, b, c, d);
  }
  int unlinkat(int a, const char* b) override {
    return fails("unlinkat") ? -1 : SysTable::unlinkat(a, b);
  }
  int chmod(const char* a, mode_t b) override {
    return fails("chmod") ? -1 : SysTable::chmod(a, b);
  }
  int fchmod(int a, mode_t b) override { return fails("fchmod") ? -1 : SysTable::fchmod(a, b); }
  int open(const char* a, int b, mode_t c) override {
    return fails("open") ? -1 : SysTable::open(a, b, c);
  }

 private:
  bool fails(const char* name) {
    if (n_-- != 0) return false;
    reached = true;
    failed = name;
    errno = error_;
    return true;
  }
  int n_;
  int error_;
};

TEST(ListeningSocket, F72_AFailureAtAnyStepLeavesNothingBehind) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  const auto before = test::open_descriptors();
  std::vector<SocketAddress> addresses = {SocketAddress::loopback_ipv4(0), path_address(path)};
  if (has_ipv6()) addresses.push_back(SocketAddress::loopback_ipv6(0));
  const ListenOptions options{.reuse_port = true, .keep_alive = true, .unix_mode = 0606};
  const test::ExpectLog warnings("continuing without it");
  int failures = 0;
  for (const SocketAddress& address : addresses) {
    for (const int error : {EMFILE, ENOBUFS, EINVAL, EPERM, EACCES, EADDRINUSE, ENOPROTOOPT}) {
      for (int n = 0;; ++n) {
        ASSERT_LT(n, 100);
        if (address.is_unix()) {  // something stale to remove, so that those steps run too
          auto dead = Socket::stream(Family::unix_path);
          ASSERT_TRUE(dead && dead->bind(address));
        }
        NthCallFails table(n, error);
        {
          const sys::ScopedTable scoped(&table);
          const auto listener = ListeningSocket::open(address, options);
          if (!listener) {
            ++failures;
            EXPECT_TRUE(listener.error().message().starts_with("listen on "));
            EXPECT_TRUE(listener.error().code() == error || listener.error().code() == EADDRINUSE)
                << table.failed << ": " << listener.error().message();
          } else if (table.reached) {
            const std::string_view failed = table.failed;
            EXPECT_TRUE(failed == "setsockopt" || failed == "fchmod" || failed == "open")
                << failed << " failed and was not told";
          }
        }
        EXPECT_EQ(test::open_descriptors(), before) << table.failed;
        fs::remove(path);
        if (!table.reached) break;
      }
    }
  }
  EXPECT_GE(failures, 7 * 6 * 2);
}

TEST(ListeningSocket, F40_AnOptionThatOnlyTunesIsWarnedAbout) {
  class NoNodelay : public SysTable {
    int setsockopt(int a, int level, int name, const void* d, socklen_t e) override {
      if (level == IPPROTO_TCP && name == TCP_NODELAY) {
        errno = ENOPROTOOPT;
        return -1;
      }
      return SysTable::setsockopt(a, level, name, d, e);
    }
  } table;
  const sys::ScopedTable scoped(&table);
  const test::ExpectLog warning("TCP_NODELAY");
  auto listener = test::listen_on("127.0.0.1:0", {.backlog = 1});
  EXPECT_TRUE(listener.socket().valid());
  EXPECT_EQ(warning.count(), 1U);
}

}  // namespace
}  // namespace weir
