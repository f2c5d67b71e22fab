// Sending: order, the queue and its bounds, datagrams that fail.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/spin_oracle.h"
#include "support/udp_harness.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

using enum DatagramResult;

TEST(UdpSend, FromOutsideAHandlerAllLeaveAtTheEndOfTheTurn) {
  UdpHarness udp;
  const UdpPeer peer;
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(udp.socket->send_to(peer.address(), std::to_string(i)), queued);
  }
  EXPECT_EQ(udp.socket->queued_datagrams(), 30u);
  EXPECT_EQ(udp.faults.count(Call::sendmmsg), 0u);
  run_turn(udp.loop);
  EXPECT_EQ(udp.faults.count(Call::sendmmsg), 1u);
  EXPECT_EQ(udp.socket->queued_datagrams(), 0u);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(peer.receive(), std::to_string(i));
}

TEST(UdpSend, WhatTheHandlerMakesUpIsCopied) {
  UdpHarness udp;
  udp.on.datagrams = [](UdpSocket& socket, std::span<const Datagram> batch) {
    for (int i = 0; i < 200; ++i) {  // more than the tables hold
      std::string text = "answer " + std::to_string(i);
      ASSERT_EQ(socket.send_to(batch[0].peer.copy(), text), queued);
      text.assign(text.size(), '!');
    }
  };
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(udp.address, "go"));
  ASSERT_TRUE(udp.until_received(1));
  for (int i = 0; i < 200 && !testing::Test::HasFailure(); ++i) {
    ASSERT_EQ(peer.receive(), "answer " + std::to_string(i));
  }
}

TEST(UdpSend, LargeAnswersLeaveInOrderToo) {
  UdpHarness udp;
  udp.on.datagrams = [](UdpSocket& socket, std::span<const Datagram> batch) {
    for (char c = 'a'; c < 'e'; ++c) socket.reply(batch[0], std::string(40'000, c));
  };
  const UdpPeer peer;
  const int room = 4 * 1024 * 1024;
  ::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
  ASSERT_TRUE(peer.send(udp.address, "go"));
  ASSERT_TRUE(udp.until_received(1));
  for (char c = 'a'; c < 'e'; ++c) EXPECT_TRUE(peer.receive() == std::string(40'000, c));
}

TEST(UdpSend, TwoSocketsOfALoopDoNotMixUpTheirDatagrams) {
  UdpHarness udp;
  UdpSocket other(udp.loop);
  ASSERT_TRUE(other.bind("127.0.0.1:0"));
  const UdpPeer asker;
  const UdpPeer third;
  udp.on.datagrams = [&](UdpSocket& socket, std::span<const Datagram> batch) {
    for (const Datagram& one : batch) {
      socket.reply(one, "before");
      for (int i = 0; i < 3; ++i) other.send_to(third.address(), std::string(30'000, 'x'));
      socket.reply(one, "after");
    }
  };
  const int room = 4 * 1024 * 1024;
  ::setsockopt(third.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
  ASSERT_TRUE(asker.send(udp.address, "a"));
  ASSERT_TRUE(udp.until([&] { return other.stats().sent == 3; }));
  EXPECT_EQ(asker.receive(), "before");
  EXPECT_EQ(asker.receive(), "after");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(third.receive()->size(), 30'000u);
}

TEST(UdpSend, AForwardedDatagramIsCopiedForTheOtherSocket) {
  UdpHarness udp;
  UdpSocket out(udp.loop);
  const UdpPeer target;
  ASSERT_TRUE(out.connect(target.address()));
  udp.on.datagrams = [&](UdpSocket&, std::span<const Datagram> batch) {
    for (const Datagram& one : batch) out.send(one.payload);
  };
  const UdpPeer peer;
  for (const char* text : {"one", "two", ""}) ASSERT_TRUE(peer.send(udp.address, text));
  ASSERT_TRUE(udp.until([&] { return out.stats().sent == 3; }));
  for (const char* text : {"one", "two", ""}) EXPECT_EQ(target.receive(), text);
}

// --- datagrams that fail -------------------------------------------------------------------------

TEST(UdpSend, EmsgsizeTellsWhichAndTheNextGoOn) {
  UdpHarness udp;
  udp.on.datagrams = [](UdpSocket& socket, std::span<const Datagram> batch) {
    socket.reply(batch[0], "first");
    socket.reply(batch[0], std::string(65'520, 'x'));  // IPv4 carries 65,507
    socket.reply(batch[0], "third");
    EXPECT_EQ(socket.reply(batch[0], std::string(70'000, 'x')), too_long);
  };
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(udp.address, "go"));
  ASSERT_TRUE(udp.until([&] { return !udp.failures.empty(); }));
  ASSERT_EQ(udp.failures.size(), 1u);
  EXPECT_EQ(udp.failures[0].error, Errno(EMSGSIZE));
  EXPECT_EQ(udp.failures[0].number, 1u);
  EXPECT_EQ(udp.failures[0].size, 65'520u);
  EXPECT_EQ(udp.failures[0].to, peer.address());
  EXPECT_EQ(peer.receive(), "first");
  EXPECT_EQ(peer.receive(), "third");
  EXPECT_EQ(udp.socket->stats().send_failed, 1u);
  EXPECT_EQ(udp.socket->accepted(), 3u);
}

TEST(UdpSend, EachErrorCostsItsDatagramOnly) {
  for (const int error : {EPERM, ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, EPIPE, EIO}) {
    UdpHarness udp({.segment = false});
    const UdpPeer peer;
    udp.faults.on(Call::sendmmsg).nth(2).fail(error);
    udp.faults.on(Call::sendmmsg).limit_bytes(1);
    for (const char* text : {"zero", "on", "two"}) udp.socket->send_to(peer.address(), text);
    ASSERT_TRUE(udp.until([&] { return udp.socket->stats().sent == 2 && !udp.failures.empty(); }));
    EXPECT_EQ(udp.failures[0].number, 1u);
    EXPECT_EQ(udp.failures[0].error, Errno(error));
    EXPECT_EQ(peer.receive(), "zero");
    EXPECT_EQ(peer.receive(), "two");
  }
}

TEST(UdpSend, ShortCountsAndInterruptionsLoseNothing) {
  UdpHarness udp;
  udp.on.datagrams = echo_all;
  const UdpPeer peer;
  udp.faults.on(Call::sendmmsg).limit_bytes(3);
  udp.faults.on(Call::sendmmsg).nth(2).fail(EINTR);
  udp.faults.on(Call::recvmmsg).nth(1).fail(EINTR);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(peer.send(udp.address, std::to_string(i)));
  ASSERT_TRUE(udp.until_received(20));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(peer.receive(), std::to_string(i));
  EXPECT_TRUE(udp.failures.empty());
}

TEST(UdpSend, NoMemoryIsTriedAgainAndGivenUpInTheEnd) {
  UdpHarness udp;
  const UdpPeer peer;
  udp.faults.on(Call::sendmmsg).first(2).fail(ENOBUFS);
  udp.socket->send_to(peer.address(), "patience");
  ASSERT_TRUE(udp.until([&] { return udp.socket->stats().sent == 1; }));
  EXPECT_EQ(peer.receive(), "patience");
  EXPECT_TRUE(udp.failures.empty());

  udp.faults.clear();
  udp.faults.on(Call::sendmmsg).always().fail(ENOBUFS);
  udp.socket->send_to(peer.address(), "lost");
  ASSERT_TRUE(udp.until([&] { return !udp.failures.empty(); }));
  EXPECT_EQ(udp.failures[0].error, Errno(ENOBUFS));
}

// --- F25: the socket takes nothing ---------------------------------------------------------------

struct Full : testing::TestWithParam<QueueFull> {};

TEST_P(Full, F25_TheQueueIsBoundedAndItsPolicyDecides) {
  UdpHarness udp({.max_queued = 1000, .queue_full = GetParam()});
  const UdpPeer peer;
  auto refusing = udp.faults.on(Call::sendmmsg);
  refusing.always().fail(EAGAIN);
  int lost = 0;
  for (int i = 0; i < 200; ++i) {
    const DatagramResult result = udp.socket->send_to(peer.address(), std::to_string(i));
    lost += result == queued ? 0 : 1;
    EXPECT_LE(udp.socket->queued_bytes(), 1000u);
    if (i == 100) run_turn(udp.loop);
  }
  const std::size_t waiting = udp.socket->queued_datagrams();
  EXPECT_GT(waiting, 5u);
  EXPECT_EQ(udp.socket->send_to(peer.address(), std::string(2000, 'x')), too_long);
  udp.faults.clear();
  ASSERT_TRUE(udp.until([&] { return udp.socket->stats().sent == waiting; }));
  std::vector<std::string> got;
  while (auto one = peer.receive(0)) got.push_back(*one);
  ASSERT_EQ(got.size(), waiting);
  if (GetParam() == QueueFull::drop_oldest) {
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(got.back(), "199");
    EXPECT_EQ(got.front(), std::to_string(200 - waiting));
  } else {
    EXPECT_EQ(lost, 200 - static_cast<int>(waiting));
    EXPECT_EQ(got.front(), "0");
    EXPECT_EQ(got.back(), std::to_string(waiting - 1));
  }
  const bool refuse = GetParam() == QueueFull::refuse;
  EXPECT_EQ(udp.socket->stats().dropped, refuse ? 0u : 200u - waiting);
  EXPECT_EQ(udp.drained, refuse ? 1 : 0);
}

TEST_P(Full, F25_AnswersThatTheSocketRefusesAreBoundedToo) {
  UdpHarness udp({.max_queued = 1000, .queue_full = GetParam()});
  const UdpPeer peer;
  udp.on.datagrams = [&](UdpSocket& socket, std::span<const Datagram> batch) {
    for (int i = 0; i < 300; ++i) socket.reply(batch[0], std::to_string(i));
  };
  udp.faults.on(Call::sendmmsg).always().fail(EAGAIN);
  ASSERT_TRUE(peer.send(udp.address, "go"));
  ASSERT_TRUE(udp.until_received(1));
  EXPECT_LE(udp.socket->queued_bytes(), 1000u);
  const std::size_t waiting = udp.socket->queued_datagrams();
  udp.faults.clear();
  ASSERT_TRUE(udp.until([&] { return udp.socket->stats().sent == waiting; }));
  // Each of the 300 is accounted for: sent, or known to be lost.
  const UdpSocket::Stats stats = udp.socket->stats();
  if (GetParam() == QueueFull::refuse) {
    EXPECT_EQ(udp.drained, 1);
    EXPECT_EQ(stats.sent + stats.send_failed, udp.socket->accepted());
  } else {
    EXPECT_EQ(stats.sent + stats.dropped, 300u);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, Full,
                         testing::Values(QueueFull::drop_newest, QueueFull::drop_oldest,
                                         QueueFull::refuse));

TEST(UdpSend, F25_ASocketThatTakesNothingIsAskedByEpollOnly) {
  UdpHarness udp({.send_buffer = 4608}, "");
  const UdpPeer peer(abstract_address("full"));
  ASSERT_TRUE(udp.socket->connect(peer.address()));
  std::size_t sent = 0;
  while (udp.socket->queued_datagrams() == 0 && sent < 10'000) {  // until its queue is full
    ASSERT_EQ(udp.socket->send(std::to_string(sent++)), queued);
    run_turn(udp.loop);
  }
  ASSERT_GT(udp.socket->queued_datagrams(), 0u);
  EXPECT_TRUE(rests(udp.loop, udp.faults));
  std::vector<std::string> got;
  ASSERT_TRUE(udp.until([&] {
    while (auto one = peer.receive(0)) got.push_back(*one);
    return got.size() == sent;
  }));
  for (std::size_t i = 0; i < sent; ++i) EXPECT_EQ(got[i], std::to_string(i));
}

TEST(UdpSend, F25_AStrangerWhoReadsNothingHoldsUpNoConnectedUnixSocket) {
  UdpHarness udp({}, "");
  const UdpPeer peer(abstract_address("peer"));
  const UdpPeer stuck(abstract_address("stuck"));
  ASSERT_TRUE(udp.socket->connect(peer.address()));
  for (int i = 0; i < 2000 && udp.failures.empty(); ++i) {
    udp.socket->send_to(stuck.address(), "x");
    run_turn(udp.loop);
  }
  ASSERT_FALSE(udp.failures.empty());
  EXPECT_EQ(udp.failures[0].error, Errno(EAGAIN));
  udp.socket->send("hello");
  run_turn(udp.loop);
  EXPECT_EQ(peer.receive(), "hello");
  EXPECT_TRUE(rests(udp.loop, udp.faults));
}

TEST(UdpSend, WhatWasMeantForOnePeerDoesNotReachTheNext) {
  UdpHarness udp({}, "");
  const UdpPeer first;
  const UdpPeer second;
  ASSERT_TRUE(udp.socket->connect(first.address()));
  udp.socket->send("for the first");
  ASSERT_TRUE(udp.socket->connect(second.address()));
  udp.socket->send("for the second");
  run_turn(udp.loop);
  EXPECT_EQ(first.receive(), "for the first");
  EXPECT_EQ(second.receive(), "for the second");
  EXPECT_EQ(second.receive(0), std::nullopt);

  udp.faults.on(Call::sendmmsg).first(1).fail(EAGAIN);
  udp.socket->send("waits");
  run_turn(udp.loop);
  const auto refused = udp.socket->connect(first.address());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errno(EAGAIN));
  ASSERT_TRUE(udp.until([&] { return udp.socket->queued_datagrams() == 0; }));
  EXPECT_EQ(second.receive(), "waits");
}

TEST(UdpSend, AnAnswerThatCanNeverWaitCostsOthersNothing) {
  UdpHarness udp({.max_queued = 1000, .queue_full = QueueFull::drop_oldest});
  const UdpPeer peer;
  udp.on.datagrams = [](UdpSocket& socket, std::span<const Datagram> batch) {
    socket.reply(batch[0], "first");
    socket.reply(batch[0], std::string(2000, 'x'));
    socket.reply(batch[0], "third");
  };
  udp.faults.on(Call::sendmmsg).first(1).fail(EAGAIN);
  ASSERT_TRUE(peer.send(udp.address, "go"));
  ASSERT_TRUE(udp.until([&] { return udp.socket->stats().sent == 2; }));
  EXPECT_EQ(peer.receive(), "first");
  EXPECT_EQ(peer.receive(), "third");
  EXPECT_EQ(udp.socket->stats().dropped, 1u);
}

TEST(UdpSend, F25_AFullUnixPeerLosesItsDatagramsAndHoldsUpNobody) {
  UdpHarness udp({}, abstract_address("sender"));
  const UdpPeer stuck(abstract_address("stuck"));
  const UdpPeer fine(abstract_address("fine"));
  for (int i = 0; i < 2000 && udp.failures.empty(); ++i) {
    udp.socket->send_to(stuck.address(), "x");
    run_turn(udp.loop);
  }
  ASSERT_FALSE(udp.failures.empty());
  EXPECT_EQ(udp.failures[0].error, Errno(EAGAIN));
  udp.socket->send_to(fine.address(), "hello");
  run_turn(udp.loop);
  EXPECT_EQ(fine.receive(), "hello");
  EXPECT_TRUE(rests(udp.loop, udp.faults));
}

}  // namespace
}  // namespace weir::test
