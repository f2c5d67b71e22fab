// Options of a server's and a client's sockets, as the kernel has them.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <optional>
#include <utility>

#include "support/client_harness.h"
#include "support/loops.h"
#include "support/sockets.h"
#include "support/test_client.h"
#include "weir/base/fd.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

struct Buffers {
  explicit Buffers(int fd)
      : receive(option(fd, SOL_SOCKET, SO_RCVBUF)),
        send(option(fd, SOL_SOCKET, SO_SNDBUF)),
        notsent(option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT)) {}
  int receive;
  int send;
  int notsent;
};

// Twice what was asked: the kernel counts its own bookkeeping.
void expect_asked(const std::optional<Buffers>& buffers) {
  ASSERT_TRUE(buffers);
  EXPECT_EQ(buffers->receive, 2 * 30'000);
  EXPECT_EQ(buffers->send, 2 * 20'000);
  EXPECT_EQ(buffers->notsent, 10'000);
}

const TcpServer::Options kServer{
    .receive_buffer = 30'000, .send_buffer = 20'000, .notsent_lowat = 10'000};

TEST(SocketOptions, BufferSizesReachTheConnections) {
  for (const char* where : {"127.0.0.1:0", "[::1]:0"}) {
    ClientHarness tcp({.receive_buffer = 30'000, .send_buffer = 20'000, .notsent_lowat = 10'000});
    TcpServer server(tcp.loop, kServer);
    std::optional<Buffers> ours;
    std::optional<Buffers> theirs;
    server.on_open([&](TcpConnection& conn) { theirs.emplace(conn.fd()); });
    tcp.on.open = [&](TcpConnection& conn) { ours.emplace(conn.fd()); };
    ASSERT_TRUE(tcp.client->connect(*server.listen(where)));
    ASSERT_TRUE(tcp.until([&] { return ours && theirs; }));
    expect_asked(ours);
    expect_asked(theirs);
    tcp.client.reset();
  }
}

TEST(SocketOptions, BufferSizesReachConnectionsOfASocketThatListenedBefore) {
  ClientHarness tcp;
  TcpServer server(tcp.loop, kServer);
  std::optional<Buffers> theirs;
  server.on_open([&](TcpConnection& conn) { theirs.emplace(conn.fd()); });
  auto listening = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  ASSERT_TRUE(listening);
  ASSERT_TRUE(tcp.client->connect(*server.listen(std::move(*listening))));
  ASSERT_TRUE(tcp.until([&] { return theirs.has_value(); }));
  expect_asked(theirs);
  tcp.client.reset();
}

TEST(SocketOptions, BufferSizesReachAdoptedConnections) {
  EventLoop loop;
  TcpServer server(loop, kServer);
  std::optional<Buffers> theirs;
  server.on_open([&](TcpConnection& conn) { theirs.emplace(conn.fd()); });
  auto listening = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  ASSERT_TRUE(listening);
  const TestClient client(listening->address());
  ASSERT_TRUE(server.adopt(Fd(::accept(listening->fd(), nullptr, nullptr))));
  ASSERT_TRUE(run_until(loop, [&] { return theirs.has_value(); }));
  expect_asked(theirs);
}

// A server of both families whose addresses are two sockets of one port.
TEST(SocketOptions, V6OnlyCanBeOfOneAddress) {
  ClientHarness tcp;
  TcpServer server(tcp.loop);
  const SocketAddress ipv4 = *server.listen("0.0.0.0:0");
  const SocketAddress ipv6 = *SocketAddress::from_ip("::", ipv4.port());
  EXPECT_FALSE(server.listen(ipv6)) << "it takes IPv4 as well";
  auto listening = ListeningSocket::open(ipv6, {.v6_only = true});
  ASSERT_TRUE(listening) << listening.error().message();
  ASSERT_TRUE(server.listen(std::move(*listening)));
  for (const SocketAddress& to :
       {SocketAddress::loopback_ipv4(ipv4.port()), SocketAddress::loopback_ipv6(ipv4.port())}) {
    const int before = tcp.calls.open;
    ASSERT_TRUE(tcp.client->connect(to));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == before + 1; })) << to.to_string();
    tcp.client->close();
  }
  tcp.client.reset();
}

}  // namespace
}  // namespace weir::test
