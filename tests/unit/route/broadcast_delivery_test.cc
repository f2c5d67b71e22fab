// The report of a Broadcast about each message: how many members got it, and which did not.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/loops.h"
#include "support/tcp_harness.h"
#include "weir/net/route/broadcast.h"

namespace weir::test {
namespace {

// A Delivery that outlives the call.
struct Told {
  std::uint64_t message = 0;
  std::uint64_t queued = 0;
  std::uint64_t closed = 0;
  std::vector<ConnectionRef> left_out;
};

Told copy_of(const Broadcast::Delivery& delivery) {
  return {.message = delivery.message,
          .queued = delivery.queued,
          .closed = delivery.closed,
          .left_out = {delivery.left_out.begin(), delivery.left_out.end()}};
}

// A room with one member whose socket takes little, and one that reads.
struct Room {
  explicit Room(SlowPolicy policy, TcpServer::Options options = {.high_water = 1000})
      : tcp(options), room(policy) {
    room.on_delivery([this](const Broadcast::Delivery& delivery) {
      told.push_back(copy_of(delivery));
      if (on_delivery) on_delivery(delivery);
    });
    tcp.on.open = [this](TcpConnection& connection) {
      shrink_send_buffer(connection);
      room.join(connection);
    };
    slow_client = tcp.connect(0, 4096);
    slow = tcp.ref();
    client = tcp.connect();
  }
  std::uint64_t send(std::string_view text, const ConnectionRef& except = {}) {
    const std::uint64_t number = room.send(SharedBytes::copy(text), except);
    run_turn(tcp.loop);
    return number;
  }
  // Until the slow member is slow.
  void fill() {
    while (room.stats().skipped + room.stats().closed == 0 && told.size() < 1000) {
      send(std::string(500, '.'));
      client.receive_exactly(500, Duration::zero());
    }
  }

  TcpHarness tcp;
  std::vector<Told> told;
  std::function<void(const Broadcast::Delivery&)> on_delivery;
  Broadcast room;
  TestClient slow_client;
  TestClient client;
  ConnectionRef slow;
};

TEST(BroadcastDelivery, EachMessageIsToldWithItsNumber) {
  Room two(SlowPolicy::skip);
  EXPECT_EQ(two.send("a"), 1u);
  EXPECT_EQ(two.send(""), 0u);
  EXPECT_EQ(two.send("b", two.slow), 2u);
  ASSERT_EQ(two.told.size(), 2u);
  EXPECT_EQ(two.told[0].message, 1u);
  EXPECT_EQ(two.told[0].queued, 2u);
  EXPECT_EQ(two.told[1].message, 2u);
  EXPECT_EQ(two.told[1].queued, 1u);
  EXPECT_TRUE(two.told[1].left_out.empty()) << "the excepted one was not left out, it was excepted";
}

TEST(BroadcastDelivery, TheMemberThatIsSkippedIsNamed) {
  Room two(SlowPolicy::skip);
  two.fill();
  const Told& last = two.told.back();
  EXPECT_EQ(last.queued, 1u);
  EXPECT_EQ(last.left_out, std::vector<ConnectionRef>{two.slow});
  EXPECT_EQ(two.room.stats().dropped, 0u);
}

TEST(BroadcastDelivery, WithLatestOnlyTheLossIsThatOfTheOlderMessage) {
  Room two(SlowPolicy::latest_only);
  two.fill();  // ends with the second one that the slow member does not get
  ASSERT_GE(two.told.size(), 2u);
  EXPECT_TRUE(two.told[two.told.size() - 2].left_out.empty());
  EXPECT_EQ(two.told.back().left_out, std::vector<ConnectionRef>{two.slow});
}

TEST(BroadcastDelivery, TheMemberThatIsResetIsCounted) {
  Room two(SlowPolicy::close);
  two.fill();
  EXPECT_EQ(two.told.back().closed, 1u);
  EXPECT_EQ(two.told.back().queued, 1u);
  EXPECT_TRUE(two.told.back().left_out.empty());
}

TEST(BroadcastDelivery, WhatMaxOutputRefusesIsDropped) {
  Room two(SlowPolicy::skip, {.high_water = 1000, .max_output = 1000, .overflow = Overflow::drop});
  for (const ConnectionRef& member : two.tcp.refs) member.get()->send("waiting");
  two.send(std::string(2000, 'x'));
  EXPECT_EQ(two.told.back().queued, 0u);
  EXPECT_EQ(two.told.back().left_out.size(), 2u);
  EXPECT_EQ(two.room.stats().dropped, 2u);
  EXPECT_EQ(two.room.stats().skipped, 2u);
}

TEST(BroadcastDelivery, F06_MembersMayLeaveAndTheRoomMayGoInsideTheCall) {
  TcpHarness tcp;
  std::optional<Broadcast> room(std::in_place);
  int told = 0;
  room->on_delivery([&](const Broadcast::Delivery& delivery) {
    EXPECT_EQ(delivery.queued, 2u);
    ++told;
    for (const ConnectionRef& ref : tcp.refs) ref.abort();
    room.reset();
  });
  tcp.on.open = [&](TcpConnection& connection) { room->join(connection); };
  TestClient first = tcp.connect();
  TestClient second = tcp.connect();
  room->send(SharedBytes::copy("a"));
  EXPECT_TRUE(tcp.until_closed(2));
  EXPECT_EQ(told, 1);
}

TEST(BroadcastDelivery, AnExceptionIsLoggedAndTheNextMessageIsToldToo) {
  ExpectLog said("on_delivery of a Broadcast threw");
  Room two(SlowPolicy::skip);
  two.on_delivery = [](const Broadcast::Delivery&) { throw std::runtime_error("a bug"); };
  two.send("a");
  two.send("b");
  EXPECT_EQ(two.told.size(), 2u);
  EXPECT_EQ(two.tcp.collect(two.client, 2), "ab");
}

TEST(BroadcastDelivery, WithSeveralLoopsEachTellsOfItsOwnMembers) {
  EventLoop loop;
  Broadcast room;
  std::mutex mutex;
  std::vector<Told> told;  // mutex
  room.on_delivery([&](const Broadcast::Delivery& delivery) {
    const std::lock_guard lock(mutex);
    told.push_back(copy_of(delivery));
  });
  EchoServer echo(loop, {.threads = 2});
  echo.server.on_open([&](TcpConnection& connection) { room.join(connection); });
  const SocketAddress address = echo.listen();
  std::vector<TestClient> clients;
  for (int i = 0; i < 4; ++i) clients.emplace_back(address);
  ASSERT_TRUE(run_until(loop, [&] { return room.stats().members == 4; }));
  const std::uint64_t number = room.send(SharedBytes::copy("hello"));
  ASSERT_TRUE(wait_until([&] {
    const std::lock_guard lock(mutex);
    return told.size() == 2;
  }));
  for (const Told& one : told) {
    EXPECT_EQ(one.message, number);
    EXPECT_EQ(one.queued, 2u);
  }
}

TEST(BroadcastDelivery, F60_SetAfterTheFirstJoinItEndsTheProgramWithASentence) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& connection) { room.join(connection); };
  TestClient client = tcp.connect();
  EXPECT_DEATH(room.on_delivery([](const Broadcast::Delivery&) {}), "before the first join");
}

}  // namespace
}  // namespace weir::test
