// The simulated network does what the real one does.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "unit/sim/echo_program.h"
#include "weir/net/sim/world.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// Returns each datagram, and remembers who sent it.
struct DatagramEcho {
  DatagramEcho(EventLoop& loop, std::string_view address, UdpSocket::Options options = {})
      : socket(loop, options) {
    socket.on_datagrams([this](UdpSocket& self, std::span<const Datagram> batch) {
      for (const Datagram& each : batch) {
        peers.push_back(each.peer.copy());
        self.reply(each, each.payload);
      }
    });
    EXPECT_TRUE(socket.bind(address).has_value());
  }

  UdpSocket socket;
  std::vector<SocketAddress> peers;
};

struct DatagramClient {
  explicit DatagramClient(EventLoop& loop) : socket(loop) {
    socket.on_datagrams([this](UdpSocket&, std::span<const Datagram> batch) {
      for (const Datagram& each : batch) got += each.text();
    });
  }

  UdpSocket socket;
  std::string got;
};

TEST(SimulatedNetwork, AServerOnAllAddressesAnswersAConnectedSocket) {
  sim::World world(1);
  const DatagramEcho server(world.host("server").loop(), "0.0.0.0:9000");
  DatagramClient client(world.host("client").loop());
  ASSERT_TRUE(client.socket.connect("127.0.0.1:9000").has_value());
  client.socket.send("hello");
  world.run_for(1s);
  EXPECT_EQ(client.got, "hello");
}

TEST(SimulatedNetwork, ADatagramOfASocketOnAllAddressesHasASender) {
  sim::World world(1);
  const DatagramEcho server(world.host("server").loop(), "127.0.0.1:9000");
  DatagramClient client(world.host("client").loop());
  ASSERT_TRUE(client.socket.bind("0.0.0.0:5000").has_value());
  client.socket.send_to(*SocketAddress::parse("127.0.0.1:9000"), "hello");
  world.run_for(1s);
  ASSERT_EQ(server.peers.size(), 1U);
  EXPECT_EQ(server.peers[0].to_string(), "127.0.0.1:5000");
  EXPECT_EQ(client.got, "hello");
}

TEST(SimulatedNetwork, SocketsThatShareAPortEachServeTheirClients) {
  sim::World world(1);
  EventLoop& loop = world.host("server").loop();
  const DatagramEcho first(loop, "127.0.0.1:9000", {.reuse_port = true});
  const DatagramEcho second(loop, "127.0.0.1:9000", {.reuse_port = true});
  DatagramClient client(world.host("client").loop());
  ASSERT_TRUE(client.socket.connect("127.0.0.1:9000").has_value());
  for (int i = 0; i < 20; ++i) client.socket.send("x");
  world.run_for(1s);
  EXPECT_EQ(client.got.size(), 20U);
  EXPECT_EQ(std::max(first.peers.size(), second.peers.size()), 20U) << "the server changed";
}

TEST(SimulatedNetwork, AReceiveBufferOfTheOptionsHoldsMoreDatagrams) {
  sim::World world(1, {.receive_buffer = 2000});
  DatagramEcho server(world.host("server").loop(), "127.0.0.1:9000", {.receive_buffer = 100'000});
  server.socket.pause_receiving();
  DatagramClient client(world.host("client").loop());
  ASSERT_TRUE(client.socket.connect("127.0.0.1:9000").has_value());
  for (int i = 0; i < 20; ++i) client.socket.send(std::string(1000, 'x'));
  world.run_for(1s);
  server.socket.resume_receiving();
  world.run_for(1s);
  EXPECT_EQ(server.peers.size(), 20U);
}

TEST(SimulatedNetwork, OneListenerAtATimeHasAPort) {
  sim::World world(1);
  TcpServer exact(world.host("a").loop());
  TcpServer any(world.host("b").loop());
  ASSERT_TRUE(exact.listen("127.0.0.1:7000").has_value());
  EXPECT_FALSE(any.listen("0.0.0.0:7000").has_value());
  ASSERT_TRUE(any.listen("0.0.0.0:7001").has_value());
  EXPECT_FALSE(exact.listen("127.0.0.1:7001").has_value());
  EXPECT_TRUE(exact.listen("[::1]:7001").has_value());
}

TEST(SimulatedNetwork, AUnixPeerHasCredentials) {
  sim::World world(1);
  TcpServer server(world.host("server").loop());
  SysResult<Credentials> peer = std::unexpected(Errno(0));
  server.on_open([&](TcpConnection& connection) { peer = connection.peer_credentials(); });
  ASSERT_TRUE(server.listen("unix:@server").has_value());
  TcpClient client(world.host("client").loop());
  ASSERT_TRUE(client.connect("unix:@server").has_value());
  EXPECT_TRUE(world.run_until([&] { return peer.has_value(); }));
  EXPECT_EQ(peer->uid, ::getuid());
}

TEST(SimulatedNetwork, ACloseDoesNotPassAPartition) {
  sim::World world(1);
  EchoProgram program(world);
  ASSERT_TRUE(world.run_until([&] { return program.server.stats().bytes_in == 5; }));
  world.partition(world.host("server"), world.host("client"));
  program.client.close();
  EXPECT_FALSE(world.run_until([&] { return program.server.connection_count() == 0; }, 1s));
  world.heal();
  EXPECT_TRUE(world.run_until([&] { return program.server.connection_count() == 0; }, 1s));
}

TEST(SimulatedNetwork, ADatagramOfASocketThatWasClosedDoesNotPassAPartition) {
  sim::World world(1, {.min_latency = 10ms, .max_latency = 10ms});
  const DatagramEcho server(world.host("server").loop(), "127.0.0.1:9000");
  {
    DatagramClient client(world.host("client").loop());
    ASSERT_TRUE(client.socket.connect("127.0.0.1:9000").has_value());
    client.socket.send("hello");
    world.run_for(1ms);
  }
  world.partition(world.host("server"), world.host("client"));
  world.run_for(1s);
  EXPECT_TRUE(server.peers.empty());
}

}  // namespace
}  // namespace weir::test
