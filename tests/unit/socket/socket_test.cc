#include "weir/net/socket/socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support/process_state.h"
#include "support/sockets.h"
#include "support/temp_files.h"
#include "weir/net/sys/sys.h"

namespace weir {
namespace {

namespace sys = internal::sys;
using namespace std::chrono_literals;
using Family = SocketAddress::Family;
using test::has_ipv6;
using test::option;

Socket stream(Family family = Family::ipv4) {
  auto socket = Socket::stream(family);
  EXPECT_TRUE(socket);
  return socket ? std::move(*socket) : Socket();
}

void expect_hygiene(int fd, const char* what) {
  EXPECT_TRUE((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0) << what;
  EXPECT_TRUE((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) << what;
}

TEST(Socket, F72_EveryCreationIsCloexecAndNonblocking) {
  for (const Family family :
       {Family::ipv4, Family::ipv6, Family::unix_path, Family::unix_abstract}) {
    if (family == Family::ipv6 && !has_ipv6()) continue;
    expect_hygiene(stream(family).fd(), "stream");
    auto datagram = Socket::datagram(family);
    ASSERT_TRUE(datagram);
    expect_hygiene(datagram->fd(), "datagram");
  }
  const test::TempFolder folder;
  for (const std::string& text : {std::string("127.0.0.1:0"), "unix:" + folder.file("s"),
                                  test::abstract_address("hygiene")}) {
    auto listener = test::listen_on(text);
    auto client = test::connect_to(listener.address());
    auto server = test::accept_from(listener);
    expect_hygiene(listener.fd(), text.c_str());
    expect_hygiene(client.fd(), text.c_str());
    expect_hygiene(server.fd(), text.c_str());
  }
}

// The descriptors of a program that we fork and exec.
std::set<int> fds_of_a_child() {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    dup2(write_end.get(), STDOUT_FILENO);
    // The shell goes on after ls, so $$ is a process that did nothing but start.
    execl("/bin/sh", "sh", "-c", "ls /proc/$$/fd; exit 0", nullptr);
    _exit(127);
  }
  write_end.reset();
  std::string text;
  std::array<std::byte, 512> block{};
  while (test::wait_for(read_end.get(), POLLIN)) {
    const auto size = sys::read(read_end.get(), block);
    if (!size || *size == 0) break;
    text.append(reinterpret_cast<const char*>(block.data()), *size);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  std::istringstream words(text);
  std::set<int> result;
  for (int fd = 0; words >> fd;) result.insert(fd);
  return result;
}

TEST(Socket, F72_AChildInheritsNothing) {
  // Descriptors that the caller of the test program passed on do not count.
  std::set<int> inherited = {0, 1, 2};
  for (const auto& [fd, target] : test::open_descriptors()) {
    if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) inherited.insert(fd);
  }
  const test::TempFolder folder;
  auto listener = test::listen_on("127.0.0.1:0");
  auto unix_listener = test::listen_on("unix:" + folder.file("s"));
  auto client = test::connect_to(listener.address());
  auto server = test::accept_from(listener);
  auto datagram = Socket::datagram(Family::ipv4);
  auto epoll = sys::epoll_create();
  auto event = sys::eventfd();
  auto file = sys::open("/dev/null", O_RDONLY);
  sigset_t mask;
  sigemptyset(&mask);
  auto signal = sys::signalfd(mask);
  ASSERT_TRUE(datagram && epoll && event && file && signal);
  EXPECT_GE(test::open_descriptors().size(), inherited.size() + 9);
  EXPECT_EQ(fds_of_a_child(), inherited);
}

TEST(Socket, F72_NothingIsLeftOpen) {
  const auto before = test::open_descriptors();
  {
    auto pair = test::connected_pair();
    Socket moved = std::move(pair.client);
    EXPECT_FALSE(pair.client.valid());  // NOLINT(bugprone-use-after-move)
    EXPECT_TRUE(moved.valid());
    const Fd taken = moved.take_fd();
    EXPECT_FALSE(moved.valid());
    EXPECT_TRUE(taken.valid());
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST(Socket, AnUnspecifiedFamilyIsAnError) {
  const auto socket = Socket::stream(Family::unspecified);
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error(), EAFNOSUPPORT);
  EXPECT_FALSE(Socket::datagram(Family::unspecified));
}

TEST(Socket, F16_CreationErrorsAreValues) {
  class NoDescriptors : public internal::SysTable {
    int socket(int, int, int) override {
      errno = EMFILE;
      return -1;
    }
  } table;
  const sys::ScopedTable scoped(&table);
  const auto socket = Socket::stream(Family::ipv4);
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error(), EMFILE);
}

TEST(Socket, FlagsAreSetAndCleared) {
  struct Flag {
    const char* name;
    SysResult<void> (Socket::*set)(bool);
    int level;
    int option;
  };
  const Flag flags[] = {
      {"reuse_addr", &Socket::set_reuse_addr, SOL_SOCKET, SO_REUSEADDR},
      {"reuse_port", &Socket::set_reuse_port, SOL_SOCKET, SO_REUSEPORT},
      {"nodelay", &Socket::set_nodelay, IPPROTO_TCP, TCP_NODELAY},
      {"keep_alive", &Socket::set_keep_alive, SOL_SOCKET, SO_KEEPALIVE},
  };
  Socket socket = stream();
  for (const Flag& flag : flags) {
    for (const bool on : {true, false, true}) {
      ASSERT_TRUE((socket.*flag.set)(on)) << flag.name;
      EXPECT_EQ(option(socket.fd(), flag.level, flag.option) != 0, on) << flag.name;
    }
  }
}

TEST(Socket, F71_V6OnlyIsSetAndCleared) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  Socket socket = stream(Family::ipv6);
  for (const bool on : {true, false, true}) {
    ASSERT_TRUE(socket.set_v6_only(on));
    EXPECT_EQ(option(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY), on ? 1 : 0);
  }
}

TEST(Socket, KeepAliveTimesAreSet) {
  Socket socket = stream();
  ASSERT_TRUE(socket.set_keep_alive(KeepAlive{.idle = 70s, .interval = 7s, .count = 3}));
  EXPECT_EQ(option(socket.fd(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_KEEPIDLE), 70);
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_KEEPINTVL), 7);
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_KEEPCNT), 3);
  const auto refused = socket.set_keep_alive(KeepAlive{.idle = 0s});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), EINVAL);
}

TEST(Socket, TimesAreSet) {
  Socket socket = stream();
  ASSERT_TRUE(socket.set_user_timeout(1500ms));
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT), 1500);
  ASSERT_TRUE(socket.set_user_timeout(std::chrono::milliseconds::max()));
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT), INT32_MAX);
  EXPECT_FALSE(socket.set_user_timeout(-1ms));
  ASSERT_TRUE(socket.set_defer_accept(1s));
  EXPECT_GE(option(socket.fd(), IPPROTO_TCP, TCP_DEFER_ACCEPT), 1);
  ASSERT_TRUE(socket.set_defer_accept(0s));
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);

  linger value{};
  socklen_t length = sizeof(value);
  for (const auto seconds : {0s, 7s}) {
    ASSERT_TRUE(socket.set_linger(seconds));
    ASSERT_TRUE(sys::getsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &value, &length));
    EXPECT_EQ(value.l_onoff, 1);
    EXPECT_EQ(value.l_linger, seconds.count());
  }
  const auto refused = socket.set_linger(-1s);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), EINVAL);
}

TEST(Socket, BufferSizesAreTwiceWhatWasAsked) {
  Socket socket = stream();
  ASSERT_TRUE(socket.set_send_buffer(30'000));
  ASSERT_TRUE(socket.set_receive_buffer(20'000));
  EXPECT_EQ(*socket.send_buffer(), 60'000);
  EXPECT_EQ(*socket.receive_buffer(), 40'000);
}

TEST(Socket, FastOpenQueueIsSet) {
  Socket socket = stream();
  ASSERT_TRUE(socket.set_fast_open(5));
  EXPECT_EQ(option(socket.fd(), IPPROTO_TCP, TCP_FASTOPEN), 5);
}

TEST(Socket, AnOptionThatDoesNotFitIsAnErrorValue) {
  Socket unix_socket = stream(Family::unix_path);
  EXPECT_FALSE(unix_socket.set_nodelay(true));
  EXPECT_FALSE(unix_socket.set_user_timeout(1s));
  EXPECT_FALSE(unix_socket.set_v6_only(true));
  EXPECT_FALSE(unix_socket.tcp_info());
  Socket none;
  EXPECT_EQ(none.set_nodelay(true).error(), EBADF);
  EXPECT_EQ(none.send_buffer().error(), EBADF);
  EXPECT_EQ(none.error(), EBADF);
  EXPECT_EQ(none.local_address(), SocketAddress());
}

TEST(Socket, BothEndsKnowTheAddresses) {
  auto pair = test::connected_pair();
  EXPECT_EQ(pair.client.local_address(), pair.server.peer_address());
  EXPECT_EQ(pair.client.peer_address(), pair.server.local_address());
  EXPECT_NE(pair.client.local_address().port(), 0);
  EXPECT_EQ(internal::local_address_of(pair.client.fd()), pair.client.local_address());
  EXPECT_EQ(internal::peer_address_of(pair.client.fd()), pair.client.peer_address());
}

TEST(Socket, F38_AfterAResetThePeerIsUnspecified) {
  auto listener = test::listen_on("127.0.0.1:0");
  auto client = test::connect_to(listener.address());
  ASSERT_TRUE(test::wait_for(client.fd(), POLLOUT));
  test::reset_by(client);
  auto server = test::accept_from(listener);  // a reset connection is still accepted
  ASSERT_TRUE(test::wait_for(server.fd(), POLLERR | POLLHUP));
  EXPECT_EQ(server.peer_address().family(), Family::unspecified);
  EXPECT_EQ(server.error(), ECONNRESET);
  EXPECT_EQ(server.error(), 0) << "asking clears it";
}

TEST(Socket, F22_AResetIsSeenByRecv) {
  auto pair = test::connected_pair();
  test::reset_by(pair.server);
  ASSERT_TRUE(test::wait_for(pair.client.fd(), POLLIN | POLLERR));
  std::array<std::byte, 4> block{};
  const auto got = sys::recv(pair.client.fd(), block);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error(), ECONNRESET);
}

TEST(Socket, F44_ARefusedConnectIsInTheError) {
  // A port that was ours a moment ago, and is nobody's now.
  SocketAddress address;
  {
    auto listener = test::listen_on("127.0.0.1:0");
    address = listener.address();
  }
  Socket client = stream();
  const auto done = client.connect(address);
  if (!done && done.error() == ECONNREFUSED) return;
  ASSERT_TRUE(test::wait_for(client.fd(), POLLOUT));
  EXPECT_EQ(client.error(), ECONNREFUSED);
}

TEST(Socket, F19_ShutdownClosesOneDirection) {
  auto pair = test::connected_pair();
  std::array<std::byte, 8> block{};
  ASSERT_TRUE(pair.client.shutdown(Socket::How::write));
  ASSERT_TRUE(test::wait_for(pair.server.fd(), POLLIN));
  EXPECT_EQ(*sys::recv(pair.server.fd(), block), 0U);
  EXPECT_EQ(sys::send(pair.client.fd(), test::bytes_of("x")).error(), EPIPE);
  // The other direction goes on.
  ASSERT_EQ(*sys::send(pair.server.fd(), test::bytes_of("back")), 4U);
  ASSERT_TRUE(test::wait_for(pair.client.fd(), POLLIN));
  EXPECT_EQ(*sys::recv(pair.client.fd(), block), 4U);
  ASSERT_TRUE(pair.client.shutdown(Socket::How::read));
  EXPECT_EQ(*sys::recv(pair.client.fd(), block), 0U);
  ASSERT_TRUE(pair.server.shutdown(Socket::How::both));
  EXPECT_EQ(sys::send(pair.server.fd(), test::bytes_of("x")).error(), EPIPE);
  const auto unconnected = stream().shutdown(Socket::How::both);
  ASSERT_FALSE(unconnected);
  EXPECT_EQ(unconnected.error(), ENOTCONN);
}

TEST(Socket, SendsAndReceivesWithoutWaiting) {
  auto pair = test::connected_pair();
  std::array<std::byte, 8> block{};
  EXPECT_EQ(pair.server.receive(block).error(), EAGAIN);
  EXPECT_EQ(*pair.client.send(test::bytes_of("hello")), 5U);
  ASSERT_TRUE(test::wait_for(pair.server.fd(), POLLIN));
  ASSERT_EQ(*pair.server.receive(block), 5U);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(block.data()), 5), "hello");
  // The kernel buffers a limited number of bytes that the peer does not read.
  const std::string much(1 << 20, 'x');
  for (;;) {
    const auto sent = pair.client.send(test::bytes_of(much));
    if (sent) continue;
    EXPECT_EQ(sent.error(), EAGAIN);
    break;
  }
  pair.server.close();
  ASSERT_TRUE(test::wait_for(pair.client.fd(), POLLERR | POLLHUP));
  EXPECT_EQ(pair.client.receive(block).error(), ECONNRESET);
}

TEST(Socket, TcpInfoTellsTheState) {
  auto pair = test::connected_pair();
  const auto info = pair.client.tcp_info();
  ASSERT_TRUE(info);
  EXPECT_EQ(info->tcpi_state, TCP_ESTABLISHED);
  EXPECT_GT(info->tcpi_snd_mss, 0U);
  EXPECT_EQ(stream().tcp_info()->tcpi_state, TCP_CLOSE);
}

TEST(Socket, AcceptWithoutClientIsEagain) {
  auto listener = test::listen_on("127.0.0.1:0");
  const auto nobody = listener.socket().accept();
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error(), EAGAIN);
}

TEST(Socket, DatagramsTravel) {
  auto receiver = Socket::datagram(Family::ipv4);
  auto sender = Socket::datagram(Family::ipv4);
  ASSERT_TRUE(receiver && sender);
  ASSERT_TRUE(receiver->bind(SocketAddress::loopback_ipv4(0)));
  ASSERT_TRUE(sender->connect(receiver->local_address()));
  ASSERT_EQ(*sys::send(sender->fd(), test::bytes_of("gram")), 4U);
  ASSERT_TRUE(test::wait_for(receiver->fd(), POLLIN));
  std::array<std::byte, 8> block{};
  EXPECT_EQ(*sys::recv(receiver->fd(), block), 4U);
}

}  // namespace
}  // namespace weir
