// UDP_SEGMENT and UDP_GRO: used where they help, and never seen by the peer.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "support/net_namespace.h"
#include "support/udp_harness.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

std::vector<std::string> of_sizes(const std::vector<std::size_t>& sizes) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::string text = std::to_string(i) + ":";
    text.resize(sizes[i], static_cast<char>('a' + i % 26));
    texts.push_back(std::move(text));
  }
  return texts;
}

TEST(UdpOffload, ReceiversSeeTheSameDatagramsWithAndWithout) {
  std::mt19937 random(3);
  std::vector<std::vector<std::size_t>> cases = {{64, 64, 64, 64},
                                                 {64, 64, 64, 10},
                                                 {64, 64, 10, 64},
                                                 {0, 0, 64, 64, 0, 64},
                                                 {1, 1, 1},
                                                 std::vector<std::size_t>(100, 700),
                                                 std::vector<std::size_t>(5, 20'000)};
  for (int i = 0; i < 20; ++i) {
    std::vector<std::size_t> sizes(1 + random() % 120);
    std::ranges::generate(sizes, [&] { return random() % 4 == 0 ? random() % 100 : 64; });
    cases.push_back(sizes);
  }
  for (const bool segment : {false, true}) {
    for (const bool coalesce : {false, true}) {
      UdpHarness sender({.segment = segment});
      UdpHarness udp({.coalesce = coalesce, .receive_buffer = 4 * 1024 * 1024});
      for (const auto& sizes : cases) {
        const std::vector<std::string> texts = of_sizes(sizes);
        udp.received.clear();
        for (const std::string& text : texts) {
          ASSERT_EQ(sender.socket->send_to(udp.address, text), DatagramResult::queued);
        }
        run_turn(sender.loop);
        ASSERT_TRUE(udp.until_received(texts.size())) << udp.received.size();
        EXPECT_TRUE(udp.received == texts) << segment << coalesce;
      }
      EXPECT_EQ(sender.socket->stats().sent, udp.socket->stats().received);
    }
  }
}

TEST(UdpOffload, NeighbouringAnswersToOnePeerLeaveAsOneMessage) {
  UdpHarness udp;
  udp.on.datagrams = echo_all;
  udp.faults.on(Call::sendmmsg).always().limit_bytes(1);  // one message a call
  const UdpPeer one;
  const UdpPeer two;
  for (const UdpPeer* peer : {&one, &two}) {
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(peer->send(udp.address, "ten times the same"));
  }
  ASSERT_TRUE(udp.until_received(20));
  EXPECT_EQ(udp.faults.count(Call::sendmmsg), 2u);
  for (const UdpPeer* peer : {&one, &two}) {
    for (int i = 0; i < 10; ++i) EXPECT_EQ(peer->receive(), "ten times the same");
    EXPECT_EQ(peer->receive(0), std::nullopt);
  }
}

// What the kernel, the path or the network card cannot take apart goes one by one.
TEST(UdpOffload, WithoutTheKernelsHelpEachGoesByItself) {
  for (const int error : {EIO, EINVAL, EMSGSIZE}) {
    UdpHarness udp;
    const UdpPeer peer;
    udp.faults.on(Call::sendmmsg).nth(1).fail(error);
    const auto send_five = [&] {
      for (int i = 0; i < 5; ++i) udp.socket->send_to(peer.address(), "same size");
      run_turn(udp.loop);
      for (int i = 0; i < 5; ++i) ASSERT_EQ(peer.receive(), "same size");
    };
    send_five();
    EXPECT_EQ(udp.faults.count(Call::sendmmsg), 2u);
    send_five();  // it is not tried again
    EXPECT_EQ(udp.faults.count(Call::sendmmsg), 3u);
    EXPECT_TRUE(udp.failures.empty());
  }
}

TEST(UdpOffload, AnErrorThatIsNotTheSegmentsFaultDoesNotEndThem) {
  UdpHarness udp;
  const UdpPeer peer;
  const SocketAddress nowhere = peer.address().with_port(0);  // EINVAL
  for (int i = 0; i < 5; ++i) udp.socket->send_to(nowhere, "same size");
  ASSERT_TRUE(udp.until([&] { return udp.failures.size() == 5; }));
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(udp.failures[i].number, i);
  const std::uint64_t before = udp.faults.count(Call::sendmmsg);
  udp.faults.on(Call::sendmmsg).limit_bytes(1);  // one message; all five are in it
  for (int i = 0; i < 5; ++i) udp.socket->send_to(peer.address(), "same size");
  run_turn(udp.loop);
  EXPECT_EQ(udp.faults.count(Call::sendmmsg), before + 1);
}

TEST(UdpOffload, SegmentsLargerThanThePathGoByThemselves) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(ip("link set lo mtu 1500"));
    UdpHarness udp({.receive_buffer = 1024 * 1024});
    UdpHarness sender;
    const std::string large(3000, 'x');
    for (int i = 0; i < 5; ++i) sender.socket->send_to(udp.address, large);
    run_turn(sender.loop);
    ASSERT_TRUE(udp.until_received(5));
    for (const std::string& one : udp.received) EXPECT_EQ(one.size(), large.size());
    EXPECT_TRUE(sender.failures.empty());
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

}  // namespace
}  // namespace weir::test
