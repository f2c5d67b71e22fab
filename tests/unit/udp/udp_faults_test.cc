// Events that bring nothing, and errors of receiving: the loop must come to rest after each.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <vector>

#include "support/spin_oracle.h"
#include "support/udp_harness.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

// A port where nobody is.
SocketAddress closed_port() {
  UdpPeer gone;
  return gone.address();
}

TEST(UdpFaults, F08_ErrWithoutInIsConsumedAndToldOnce) {
  UdpHarness udp({}, "");
  ASSERT_TRUE(udp.socket->connect(closed_port()));
  udp.socket->pause_receiving();  // the error comes all the same, if something is watched
  udp.socket->resume_receiving();
  ASSERT_EQ(udp.socket->send("anybody?"), DatagramResult::queued);
  ASSERT_TRUE(udp.until([&] { return !udp.errors.empty(); }));
  EXPECT_EQ(udp.errors[0], Errno(ECONNREFUSED));
  EXPECT_TRUE(rests(udp.loop, udp.faults));
  EXPECT_EQ(udp.errors.size(), 1u);
  EXPECT_TRUE(udp.received.empty());
  EXPECT_TRUE(udp.socket->is_open());
}

TEST(UdpFaults, F71_ErrWithoutInEndsNothingAndTheSocketGoesOn) {
  UdpHarness udp({}, "");
  const SocketAddress nobody = closed_port();
  ASSERT_TRUE(udp.socket->connect(nobody));
  udp.socket->send("anybody?");
  ASSERT_TRUE(udp.until([&] { return udp.errors.size() == 1; }));
  const UdpPeer peer(nobody.to_string());  // somebody came
  udp.socket->send("hello");
  run_turn(udp.loop);
  EXPECT_EQ(peer.receive(), "hello");
  ASSERT_TRUE(peer.send(udp.socket->local_address(), "back"));
  ASSERT_TRUE(udp.until_received(1));
}

TEST(UdpFaults, APendingErrorCostsTheNextDatagramNothing) {
  UdpHarness udp({}, "");
  const UdpPeer peer;
  ASSERT_TRUE(udp.socket->connect(peer.address()));
  udp.faults.on(Call::sendmmsg).nth(1).fail(ECONNREFUSED);
  udp.socket->send("hello");
  run_turn(udp.loop);
  EXPECT_EQ(peer.receive(), "hello");
  EXPECT_EQ(udp.errors, std::vector<Errno>{Errno(ECONNREFUSED)});
  EXPECT_TRUE(udp.failures.empty());
}

// Every error of ICMP is about an earlier datagram, for any number of segments in this call.
TEST(UdpFaults, APendingErrorOfAnyKindCostsNoneOfManySegments) {
  for (const int error : {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EMSGSIZE, ENOPROTOOPT, EHOSTDOWN,
                          ENONET, EPROTO, EACCES}) {
    UdpHarness udp({}, "");
    const UdpPeer peer;
    ASSERT_TRUE(udp.socket->connect(peer.address()));
    udp.faults.on(Call::sendmmsg).nth(1).fail(error);
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 5; ++i) udp.socket->send("hello");
      run_turn(udp.loop);
      for (int i = 0; i < 5; ++i) EXPECT_EQ(peer.receive(), "hello");
    }
    EXPECT_EQ(udp.errors, std::vector<Errno>{Errno(error)});
    EXPECT_TRUE(udp.failures.empty());
    EXPECT_EQ(udp.faults.count(Call::sendmmsg), 3u) << "segments are still sent as one";
  }
}

TEST(UdpFaults, AnErrorThatComesTwiceIsTheDatagramsOwn) {
  UdpHarness udp({}, "");
  const UdpPeer peer;
  ASSERT_TRUE(udp.socket->connect(peer.address()));
  udp.faults.on(Call::sendmmsg).first(2).fail(EPERM);
  udp.socket->send("forbidden");
  run_turn(udp.loop);
  udp.socket->send("allowed");
  run_turn(udp.loop);
  EXPECT_EQ(peer.receive(), "allowed");
  ASSERT_EQ(udp.failures.size(), 1u);
  EXPECT_EQ(udp.failures[0].number, 0u);
  EXPECT_EQ(udp.failures[0].error, Errno(EPERM));
  EXPECT_TRUE(udp.errors.empty());
}

// On loopback the refusal of one datagram is there before the next one is sent.
TEST(UdpFaults, F08_WhoSendsAgainAtEachErrorDoesNotHoldTheLoop) {
  UdpHarness udp({}, "");
  ASSERT_TRUE(udp.socket->connect(closed_port()));
  udp.socket->pause_receiving();
  udp.on.error = [](UdpSocket& socket, Errno) { socket.send("again"); };
  udp.socket->send("anybody?");
  run_turn(udp.loop);
  udp.socket->send("anybody?");
  run_turns(udp.loop, 20);  // each of them ends
  EXPECT_FALSE(udp.errors.empty());
  EXPECT_LE(udp.errors.size(), 2 * 22u);
}

TEST(UdpFaults, F08_AnErrorQueueThatTheProgramAskedForIsEmptied) {
  UdpHarness udp({}, "");
  ASSERT_TRUE(udp.socket->connect(closed_port()));
  const int on = 1;
  ASSERT_EQ(::setsockopt(udp.socket->fd(), IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
  for (int i = 0; i < 3; ++i) {
    udp.socket->send("anybody?");
    run_for(udp.loop, std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(rests(udp.loop, udp.faults));
  EXPECT_FALSE(udp.errors.empty());
  EXPECT_TRUE(udp.socket->is_open());
}

TEST(UdpFaults, F08_ForgedEventsOfEveryKindReachALegalState) {
  constexpr std::array<std::uint32_t, 6> kBits = {EPOLLIN,  EPOLLOUT, EPOLLRDHUP,
                                                  EPOLLERR, EPOLLHUP, EPOLLPRI};
  for (const bool waiting : {false, true}) {
    UdpHarness udp;
    udp.on.datagrams = echo_all;
    const UdpPeer peer;
    SlotId id;
    udp.faults.edit_batches([&](std::vector<FaultTable::Event>& batch) {
      for (const FaultTable::Event& event : batch) id = event.id;
    });
    ASSERT_TRUE(peer.send(udp.address, "x"));
    ASSERT_TRUE(udp.until_received(1));
    ASSERT_EQ(peer.receive(), "x");
    udp.faults.clear();
    const SlotId socket_id = id;
    std::size_t got = 1;
    for (std::uint32_t mask = 0; mask < 64; ++mask) {
      std::uint32_t events = 0;
      for (std::size_t bit = 0; bit < kBits.size(); ++bit) {
        if ((mask >> bit & 1) != 0) events |= kBits[bit];
      }
      if (waiting) {
        udp.faults.on(Call::sendmmsg).first(1).fail(EAGAIN);
        udp.socket->send_to(peer.address(), "queued");
        run_turn(udp.loop);
        ASSERT_EQ(udp.socket->queued_datagrams(), 1u);
      }
      udp.faults.forge_batch({{socket_id, events}});
      run_turn(udp.loop);
      if (waiting) {
        ASSERT_TRUE(udp.until([&] { return udp.socket->queued_datagrams() == 0; }));
        ASSERT_EQ(peer.receive(), "queued");
      }
      ASSERT_TRUE(peer.send(udp.address, "still there?"));
      ASSERT_TRUE(udp.until_received(++got)) << "events " << events;
      ASSERT_EQ(peer.receive(), "still there?");
      udp.faults.clear();
    }
    EXPECT_TRUE(udp.errors.empty());
    EXPECT_TRUE(rests(udp.loop, udp.faults));
  }
}

TEST(UdpFaults, F08_AShutdownBehindOurBackIsToldAndTheLoopRests) {
  for (const int how : {SHUT_RD, SHUT_RDWR}) {
    UdpHarness udp({}, "");
    const UdpPeer peer;
    ASSERT_TRUE(udp.socket->connect(peer.address()));
    ASSERT_EQ(::shutdown(udp.socket->fd(), how), 0);
    ASSERT_TRUE(udp.until([&] { return !udp.errors.empty(); }));
    EXPECT_EQ(udp.errors.back(), Errno(ESHUTDOWN));
    EXPECT_TRUE(rests(udp.loop, udp.faults));
    EXPECT_EQ(udp.errors.size(), 1u);
  }
}

TEST(UdpFaults, EventsThatPromisedMoreAreNoError) {
  UdpHarness udp;
  const UdpPeer peer;
  udp.faults.on(Call::recvmmsg).first(5).fail(EAGAIN);
  ASSERT_TRUE(peer.send(udp.address, "x"));
  ASSERT_TRUE(udp.until_received(1));
  EXPECT_TRUE(udp.errors.empty());
}

TEST(UdpFaults, ReceivingGoesOnAfterErrorsAndDoesNotSpinOnThem) {
  for (const int error : {ECONNREFUSED, EHOSTUNREACH, ENOMEM, ENOBUFS, EIO, EBADF}) {
    UdpHarness udp;
    const UdpPeer peer;
    udp.faults.on(Call::recvmmsg).always().fail(error);
    ASSERT_TRUE(peer.send(udp.address, "x"));
    run_for(udp.loop, std::chrono::milliseconds(100));
    EXPECT_LT(udp.faults.count(Call::recvmmsg), 20u);
    EXPECT_LT(udp.errors.size(), 15u);
    EXPECT_TRUE(udp.received.empty());
    udp.faults.clear();
    ASSERT_TRUE(udp.until_received(1));
  }
}

TEST(UdpFaults, ARefusedRegistrationIsToldAndCloses) {
  UdpHarness udp({}, "");
  udp.faults.on(Call::epoll_ctl).always().fail(ENOSPC);
  ASSERT_TRUE(udp.socket->bind("127.0.0.1:0"));
  run_turn(udp.loop);
  EXPECT_EQ(udp.errors, std::vector<Errno>{Errno(ENOSPC)});
  EXPECT_FALSE(udp.socket->is_open());
}

// Otherwise bind() would return an unspecified address as if it were bound to it.
TEST(UdpFaults, AnAddressThatTheKernelDoesNotTellIsAnError) {
  UdpHarness udp({}, "");
  udp.faults.on(Call::getsockname).first(2).fail(ENOBUFS);
  const auto bound = udp.socket->bind("127.0.0.1:0");
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().message(), "bind to 127.0.0.1:0: getsockname: No buffer space available");
  EXPECT_FALSE(udp.socket->is_open());
  const auto connected = udp.socket->connect("127.0.0.1:7");
  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().code(), ENOBUFS);
  EXPECT_EQ(udp.socket->send("to nobody"), DatagramResult::closed);
  EXPECT_TRUE(udp.socket->bind("127.0.0.1:0"));
}

TEST(UdpFaults, SetUpThatTheKernelRefusesIsAnErrorAndLeavesNothing) {
  for (const Call call : {Call::socket, Call::bind}) {
    UdpHarness udp({}, "");
    udp.faults.on(call).nth(1).fail(EACCES);
    const auto refused = udp.socket->bind("127.0.0.1:0");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errno(EACCES));
    EXPECT_TRUE(udp.socket->bind("127.0.0.1:0"));
  }
  UdpHarness udp({.reuse_port = true}, "");
  udp.faults.on(Call::setsockopt).argument(SO_REUSEPORT).nth(1).fail(ENOPROTOOPT);
  const auto refused = udp.socket->bind("127.0.0.1:0");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(), "bind to 127.0.0.1:0: SO_REUSEPORT: Protocol not available");
}

}  // namespace
}  // namespace weir::test
