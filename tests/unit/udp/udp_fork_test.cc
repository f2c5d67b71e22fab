// F17: a child of fork() that destroys what its parent made, while the parent goes on.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "support/in_child.h"
#include "support/temp_files.h"
#include "support/udp_harness.h"
#include "weir/net/udp/udp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

TEST(UdpFork, F17_AChildThatDestroysEverythingCostsTheParentNothing) {
  const TempFolder folder;
  const std::string path = folder.file("s");
  auto loop = std::make_unique<EventLoop>();
  auto server = std::make_unique<UdpServer>(*loop);
  server->on_datagrams(echo_all);
  const SocketAddress address = server->listen("127.0.0.1:0").value();
  ASSERT_TRUE(server->listen("unix:" + path));
  const UdpPeer target;
  auto waiting = std::make_unique<UdpSocket>(*loop);
  ASSERT_TRUE(waiting->bind("127.0.0.1:0"));
  waiting->send_to(target.address(), "once");  // in the queue of both

  EXPECT_TRUE(in_child([&] {
    waiting.reset();
    server.reset();
    loop.reset();
  }));
  EXPECT_TRUE(exists(path));
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(address, "after the fork"));
  std::optional<std::string> answer;
  EXPECT_TRUE(run_until(*loop, [&] {
    if (!answer) answer = peer.receive(0);
    return answer.has_value();
  }));
  EXPECT_EQ(answer, "after the fork");
  EXPECT_EQ(target.receive(), "once");
  EXPECT_EQ(target.receive(0), std::nullopt) << "what waited was the parent's to send";
  waiting.reset();
  server.reset();
  loop.reset();
  EXPECT_FALSE(exists(path));
}

TEST(UdpFork, F17_AChildThatDestroysAServerWithThreads) {
  EventLoop loop;
  auto server = std::make_unique<UdpServer>(loop, UdpServer::Options{.threads = 2});
  server->on_datagrams(echo_all);
  const SocketAddress address = server->listen("127.0.0.1:0").value();
  EXPECT_TRUE(in_child([&] { server.reset(); }, 20))
      << "it does not wait for threads that it has not";
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(address, "after the fork"));
  EXPECT_EQ(peer.receive(), "after the fork");
}

}  // namespace
}  // namespace weir::test
