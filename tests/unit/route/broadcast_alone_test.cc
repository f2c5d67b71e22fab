// A message to many that comes alone: past the queues, and what if the socket does not take it.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "weir/net/route/broadcast.h"

namespace weir::test {
namespace {

// With nothing behind it a message is written on the spot, one call each; several leave together.
TEST(Broadcast, ALoneMessageWaitsInNoQueue) {
  constexpr std::size_t kMembers = 20;
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) { room.join(c); };
  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < kMembers; ++i) clients.push_back(tcp.connect());
  std::uint64_t waiting = 0;
  for (const Call call : {Call::send, Call::sendmsg}) {
    tcp.faults.on(call).hook([&] {
      for (const ConnectionRef& ref : tcp.refs) waiting += ref.get()->pending_output();
    });
  }
  const auto sends = [&] { return tcp.faults.count(Call::send) + tcp.faults.count(Call::sendmsg); };
  for (const std::size_t together : {std::size_t{1}, std::size_t{2}}) {
    const std::uint64_t before = sends();
    waiting = 0;
    for (std::size_t i = 0; i < together; ++i) room.send(SharedBytes::copy(pattern(1000)));
    for (TestClient& client : clients) {
      EXPECT_EQ(tcp.collect(client, together * 1000).size(), together * 1000);
    }
    EXPECT_EQ(sends() - before, kMembers);
    EXPECT_EQ(waiting > 0, together > 1);
  }
}

TEST(Broadcast, ALoneMessageGoesOnWhereTheSocketStoppedTakingIt) {
  for (const Trigger trigger : kTriggers) {
    for (const int refusal : {0, EAGAIN, ENOBUFS, EINTR}) {
      TcpHarness tcp({.trigger = trigger});
      Broadcast room;
      tcp.on.open = [&](TcpConnection& c) { room.join(c); };
      TestClient client = tcp.connect();
      if (refusal == 0) {
        tcp.faults.on(Call::send).first(2).limit_bytes(7);
      } else {
        tcp.faults.on(Call::send).nth(1).fail(refusal);
      }
      const SharedBytes message = SharedBytes::copy(pattern(1000));
      room.send(message);
      EXPECT_EQ(tcp.collect(client, 1000), pattern(1000)) << refusal;
      EXPECT_EQ(room.stats().delivered, 1u);
      EXPECT_EQ(message.use_count(), 1u);
      EXPECT_TRUE(rests(tcp.loop, tcp.faults, std::chrono::milliseconds(50)));
    }
  }
}

TEST(Broadcast, ALoneMessageFindsThePeerGone) {
  for (const int error : {EPIPE, ECONNRESET}) {
    TcpHarness tcp;
    Broadcast room;
    tcp.on.open = [&](TcpConnection& c) { room.join(c); };
    TestClient client = tcp.connect();
    tcp.faults.on(Call::send).nth(1).fail(error);
    room.send(SharedBytes::copy("hello"));
    tcp.turns(2);
    client.shutdown_write();
    EXPECT_TRUE(tcp.until_closed());
    ASSERT_TRUE(tcp.reason);
    EXPECT_EQ(tcp.reason->kind, CloseReason::Kind::reset);
    EXPECT_TRUE(tcp.reason->error == error);
    EXPECT_EQ(room.stats().delivered, 0u);
    EXPECT_EQ(room.stats().members, 0u);
  }
}

}  // namespace
}  // namespace weir::test
