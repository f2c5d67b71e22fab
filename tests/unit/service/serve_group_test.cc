// Several servers in one process: TCP, an admin server, UDP.
#include "weir/net/service/serve_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/serving_child.h"
#include "support/test_client.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/udp/udp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// Each says its own word to who sends it something.
void answer(TcpServer& server, std::string word) {
  server.on_data([word](TcpConnection& connection, Buffer& in) {
    in.clear();
    connection.send(word);
  });
}

struct ThreeServers {
  ThreeServers() {
    answer(tcp, "tcp");
    answer(admin, "admin");
    udp.on_datagrams([](UdpSocket& socket, std::span<const Datagram> batch) {
      for (const Datagram& in : batch) socket.reply(in, "udp");
    });
  }
  EventLoop loop;
  TcpServer tcp{loop};
  TcpServer admin{loop, {.threads = 1}};
  UdpServer udp{loop};
};

TestClient answered(const SocketAddress& address, std::string_view word) {
  TestClient client(address);
  EXPECT_TRUE(client.send_all("x"));
  EXPECT_EQ(client.receive_exactly(word.size()), word);
  return client;
}

std::string ask_udp(const SocketAddress& address) {
  Socket socket = Socket::datagram(address.family()).value();
  EXPECT_TRUE(socket.connect(address));
  const std::string question = "x";
  EXPECT_TRUE(socket.send(std::as_bytes(std::span(question))));
  std::string got(100, ' ');
  EXPECT_TRUE(wait_until([&] {
    const auto size = socket.receive(std::as_writable_bytes(std::span(got)));
    if (size) got.resize(*size);
    return size.has_value();
  }));
  return got;
}

TEST(ServeGroup, AllAreServedAndEndTogether) {
  ServingChild child([] {
    ThreeServers servers;
    ServeGroup group(servers.loop);
    group.add(servers.tcp, {"127.0.0.1:0", "[::1]:0"});
    group.add(servers.admin, {"127.0.0.1:0"}, 1s);
    group.add(servers.udp, {"127.0.0.1:0"});
    return group.run();
  });
  const SocketAddress tcp = child.address();
  const SocketAddress tcp6 = child.address();
  const SocketAddress admin = child.address();
  const SocketAddress udp = child.address();
  TestClient first = answered(tcp, "tcp");
  TestClient second = answered(tcp6, "tcp");
  TestClient third = answered(admin, "admin");
  EXPECT_EQ(ask_udp(udp), "udp");
  child.signal(SIGTERM);
  for (TestClient* client : {&first, &second, &third}) {
    EXPECT_EQ(client->wait_for_end(), TestClient::End::eof);
    client->close();
  }
  EXPECT_EQ(child.wait(), 0);
}

// The one that ends first does not stop the loop under the other.
TEST(ServeGroup, EachHasItsOwnDeadline) {
  ServingChild child([] {
    ThreeServers servers;
    ServeGroup group(servers.loop);
    group.add(servers.tcp, {"127.0.0.1:0"}, 10s);
    group.add(servers.admin, {"127.0.0.1:0"}, 100ms);
    return group.run();
  });
  TestClient patient = answered(child.address(), "tcp");
  TestClient hurried = answered(child.address(), "admin");
  child.signal(SIGINT);
  EXPECT_NE(hurried.wait_for_end(3s), TestClient::End::open);  // linger_timeout is 5 s
  EXPECT_EQ(child.wait(200ms), std::nullopt);
  patient.wait_for_end();
  patient.close();
  EXPECT_EQ(child.wait(), 0);
}

TEST(ServeGroup, OnStopComesFirstAndOtherThingsCanBeEnded) {
  ServingChild child([] {
    EventLoop loop;
    ServeGroup group(loop);
    group.on_stop([] { std::puts("stop"); });
    group.add_bound({}, [&loop](ServeGroup::Done done) {
      std::puts("end");
      loop.run_after(10ms, std::move(done));
    });
    group.add_bound({SocketAddress::parse("127.0.0.1:1").value()},
                    [](ServeGroup::Done done) { done(); });
    const int code = group.run();
    std::puts("over");
    return code;
  });
  EXPECT_EQ(child.line(), "listening on 127.0.0.1:1");
  child.signal(SIGTERM);
  EXPECT_EQ(child.line(), "stop");
  EXPECT_EQ(child.line(), "end");
  EXPECT_EQ(child.line(), "over");
  EXPECT_EQ(child.wait(), 0);
}

// What one throws costs the others nothing, and the first exception leaves run() when all are over.
TEST(ServeGroup, AllAreEndedAlsoWhenOneThrows) {
  ServingChild child([] {
    ThreeServers servers;
    ServeGroup group(servers.loop);
    group.on_stop([] { throw std::runtime_error("on_stop"); });
    group.add(servers.tcp, {"127.0.0.1:0"});
    group.add_bound({}, [](ServeGroup::Done) { throw std::runtime_error("an end"); });
    group.add_bound({}, [&servers](ServeGroup::Done done) {
      servers.loop.run_after(10ms, std::move(done));
      throw std::runtime_error("an end that is called back all the same");
    });
    group.add(servers.admin, {"127.0.0.1:0"});
    try {
      group.run();
    } catch (const std::runtime_error& thrown) {
      std::puts(thrown.what());
      return 7;
    }
    return 0;
  });
  TestClient first = answered(child.address(), "tcp");
  TestClient second = answered(child.address(), "admin");
  child.signal(SIGTERM);
  for (TestClient* client : {&first, &second}) {
    EXPECT_EQ(client->wait_for_end(), TestClient::End::eof);  // in order, not by ~TcpServer
    client->close();
  }
  EXPECT_EQ(child.line(), "on_stop");
  EXPECT_EQ(child.wait(), 7);
}

TEST(ServeGroup, TheFirstFailureIsSaidOnceAndEndsIt) {
  ThreeServers servers;
  const SocketAddress taken = servers.tcp.listen("127.0.0.1:0").value();
  ServeGroup group(servers.loop);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  group.add(servers.admin, {taken.to_string()});
  group.add(servers.udp, {"nonsense"});
  EXPECT_EQ(group.run(), 1);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_TRUE(said.starts_with("error: listen on " + taken.to_string())) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(servers.udp.loop_count(), 0u);
}

TEST(ServeGroup, ATextThatIsNoAddressIsTwo) {
  ThreeServers servers;
  ServeGroup group(servers.loop);
  ::testing::internal::CaptureStderr();
  group.add(servers.udp, {"127.0.0.1:0", "nonsense"});
  EXPECT_EQ(group.run(), 2);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("nonsense"), std::string::npos);
  EXPECT_EQ(servers.udp.loop_count(), 0u);
}

}  // namespace
}  // namespace weir::test
