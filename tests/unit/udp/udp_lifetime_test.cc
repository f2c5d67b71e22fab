// Closing and destroying a socket at every moment, its own handlers included.
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "support/allocations.h"
#include "support/expect_log.h"
#include "support/udp_harness.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

enum class End { close, destroy };

void end(UdpHarness& udp, End how) {
  if (how == End::close) {
    udp.socket->close();
  } else {
    udp.socket.reset();
  }
}

struct Ends : testing::TestWithParam<End> {};

TEST_P(Ends, F03_InTheMiddleOfABatchNothingMoreComes) {
  UdpHarness udp;
  const UdpPeer peer;
  udp.on.datagrams = [&](UdpSocket& socket, std::span<const Datagram> batch) {
    socket.reply(batch[0], "goodbye");
    end(udp, GetParam());
    std::size_t bytes = 0;  // the batch itself is whole until we return
    for (const Datagram& one : batch) bytes += one.payload.size() + one.peer.copy().port();
    EXPECT_GT(bytes, 0u);
    if (GetParam() == End::close) {
      EXPECT_EQ(socket.reply(batch[1], "too late"), DatagramResult::closed);
      EXPECT_FALSE(socket.is_open());
      EXPECT_EQ(socket.fd(), -1);
      socket.close();  // once more
    }
  };
  // More than a turn takes, so that more calls of the same turn would follow.
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(peer.send(udp.address, std::to_string(i)));
  run_for(udp.loop, std::chrono::milliseconds(10));
  EXPECT_EQ(udp.batches, 1);
  EXPECT_EQ(udp.received.size(), UdpSocket::kMaxBatch);
  EXPECT_EQ(peer.receive(), "goodbye");
  EXPECT_EQ(peer.receive(10), std::nullopt);
}

TEST_P(Ends, F03_InTheMiddleOfAMessageOfManySegmentsNothingMoreComes) {
  UdpHarness udp({.coalesce = true});
  UdpHarness sender({.segment = true});
  udp.on.datagrams = [&](UdpSocket&, std::span<const Datagram>) { end(udp, GetParam()); };
  for (int i = 0; i < 300; ++i) sender.socket->send_to(udp.address, "0123456789");
  run_turn(sender.loop);
  run_for(udp.loop, std::chrono::milliseconds(10));
  EXPECT_EQ(udp.batches, 1);
}

TEST_P(Ends, F03_InOnErrorAndThenInputAndOutputOfTheSameEventAreSkipped) {
  UdpHarness udp({}, "");
  UdpPeer peer;
  ASSERT_TRUE(udp.socket->connect(peer.address()));
  // IN, OUT and ERR in one event: input waits, output waits, and an error.
  ASSERT_TRUE(peer.send(udp.socket->local_address(), "input"));
  udp.faults.on(Call::sendmmsg).nth(1).fail(EAGAIN);
  udp.socket->send("output");
  udp.faults.on(Call::getsockopt).argument(SO_ERROR).nth(1).give_option(ECONNREFUSED);
  udp.faults.edit_batches([](std::vector<FaultTable::Event>& batch) {
    for (FaultTable::Event& event : batch) {
      if ((event.events & EPOLLIN) != 0) event.events |= EPOLLOUT | EPOLLERR | EPOLLHUP;
    }
  });
  udp.on.error = [&](UdpSocket&, Errno) { end(udp, GetParam()); };
  run_for(udp.loop, std::chrono::milliseconds(10));
  EXPECT_EQ(udp.errors.size(), 1u);
  EXPECT_EQ(udp.batches, 0);
  EXPECT_EQ(udp.drained, 0);
}

TEST_P(Ends, F03_InOnSendFailedAndInOnDrained) {
  {
    UdpHarness udp;
    const UdpPeer peer;
    udp.faults.on(Call::sendmmsg).always().fail(EPERM);
    udp.on.send_failed = [&](UdpSocket&, const FailedDatagram&) { end(udp, GetParam()); };
    for (int i = 0; i < 10; ++i) udp.socket->send_to(peer.address(), "x");
    run_for(udp.loop, std::chrono::milliseconds(10));
    EXPECT_EQ(udp.failures.size(), 1u);
  }
  UdpHarness udp({.max_queued = 200, .queue_full = QueueFull::refuse});
  const UdpPeer peer;
  auto refusing = udp.faults.on(Call::sendmmsg);
  refusing.first(1).fail(EAGAIN);
  udp.on.drained = [&](UdpSocket&) { end(udp, GetParam()); };
  while (udp.socket->send_to(peer.address(), "x") == DatagramResult::queued) {
  }
  run_for(udp.loop, std::chrono::milliseconds(10));
  EXPECT_EQ(udp.drained, 1);
}

TEST_P(Ends, ByAnotherSocketsHandler) {
  UdpHarness udp;
  UdpSocket killer(udp.loop);
  killer.on_datagrams([&](UdpSocket&, std::span<const Datagram>) { end(udp, GetParam()); });
  const SocketAddress deadly = killer.bind("127.0.0.1:0").value();
  const UdpPeer peer;
  run_turn(udp.loop);
  // Both are in one batch of events; the one that was made ready first is served first.
  ASSERT_TRUE(peer.send(deadly, "now"));
  ASSERT_TRUE(peer.send(udp.address, "x"));
  udp.socket->send_to(peer.address(), "last words");
  run_for(udp.loop, std::chrono::milliseconds(10));
  EXPECT_EQ(udp.batches, 0);
  EXPECT_EQ(peer.receive(), "last words");
}

TEST_P(Ends, WithTimersSetAndDatagramsWaiting) {
  UdpHarness udp;
  const UdpPeer peer;
  udp.faults.on(Call::recvmmsg).always().fail(ENOMEM);
  udp.faults.on(Call::sendmmsg).always().fail(ENOBUFS);
  ASSERT_TRUE(peer.send(udp.address, "x"));
  udp.socket->send_to(peer.address(), "x");
  run_turn(udp.loop);
  end(udp, GetParam());
  run_for(udp.loop, std::chrono::milliseconds(50));
  EXPECT_EQ(udp.received.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Each, Ends, testing::Values(End::close, End::destroy));

TEST(UdpLifetime, TheHandlerAndItsCapturesLiveUntilItReturns) {
  EventLoop loop;
  auto socket = std::make_unique<UdpSocket>(loop);
  auto captured = std::make_shared<std::string>("alive");
  std::weak_ptr<std::string> watched = captured;
  socket->on_datagrams(
      [&socket, &watched, kept = std::move(captured)](UdpSocket&, std::span<const Datagram>) {
        socket.reset();
        EXPECT_FALSE(watched.expired());
        EXPECT_EQ(*kept, "alive");
      });
  const SocketAddress address = socket->bind("127.0.0.1:0").value();
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(address, "x"));
  run_for(loop, std::chrono::milliseconds(5));
  EXPECT_EQ(socket, nullptr);
  EXPECT_TRUE(watched.expired());
}

TEST(UdpLifetime, ManySocketsLeaveNothingBehind) {
  EventLoop loop;
  const auto live = [&loop] {
    for (int i = 0; i < 50; ++i) {
      UdpSocket socket(loop);
      ASSERT_TRUE(socket.bind("127.0.0.1:0"));
      socket.send_to(socket.local_address(), "x");
      run_turn(loop);
    }
    run_turn(loop);
    run_turn(loop);
  };
  live();  // what the loop keeps
  const HeapCheck heap;
  live();
}

TEST(UdpLifetime, AHandlerThatThrowsLosesNothingElse) {
  const ExpectLog thrown("on_datagrams of a datagram socket threw: oh");
  UdpHarness udp;
  const UdpPeer peer;
  udp.on.datagrams = [](UdpSocket& socket, std::span<const Datagram> batch) {
    socket.reply(batch[0], batch[0].payload);
    if (batch[0].text() == "bad") throw std::runtime_error("oh");
  };
  ASSERT_TRUE(peer.send(udp.address, "bad"));
  ASSERT_TRUE(udp.until_received(1));
  ASSERT_TRUE(peer.send(udp.address, "good"));
  ASSERT_TRUE(udp.until_received(2));
  EXPECT_EQ(peer.receive(), "bad");
  EXPECT_EQ(peer.receive(), "good");
}

TEST(UdpLifetimeDeathTest, TheWrongThreadAndLateHandlersEndTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EventLoop loop;
  UdpSocket socket(loop);
  ASSERT_TRUE(socket.bind("127.0.0.1:0"));
  EXPECT_DEATH(on_other_thread([&] { socket.close(); }), "UdpSocket::close");
  EXPECT_DEATH(socket.on_error([](UdpSocket&, Errno) {}), "before bind");
  EXPECT_DEATH(socket.resume_receiving(), "without a pause_receiving");
}

}  // namespace
}  // namespace weir::test
