// Back-pressure for a producer on another thread.
#include "weir/net/stream/producer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "support/loops.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Result = Producer::Result;

constexpr std::uint64_t kHigh = 64 * 1024;
constexpr std::uint64_t kBound = 32 * 1024;
constexpr std::size_t kMessage = 4096;

// A connection whose socket takes little, with a client that reads only when the test says so.
struct Slow {
  explicit Slow(TcpServer::Options options = {.high_water = kHigh}) : tcp(options) {
    tcp.on.open = shrink_send_buffer;
    client = tcp.connect(0, 4096);
  }
  // Sends until it is full, on this thread, which is another's for all that it shows: each message
  // is posted and arrives in a turn.
  std::size_t fill(Producer& producer) {
    std::size_t sent = 0;
    for (int idle = 0; idle < 3 && sent < 1000;) {
      const Result result =
          on_other_thread([&] { return producer.try_send(SharedBytes::copy(pattern(kMessage))); });
      EXPECT_NE(result, Result::ended);
      idle = result == Result::full ? idle + 1 : 0;
      sent += result == Result::queued ? 1 : 0;
      run_turn(tcp.loop);
    }
    return sent;
  }
  TcpHarness tcp;
  TestClient client;
};

// Less than half of the bound is on its way, but not so little that the message has room.
TEST(Producer, F26_AMessageThatHasNoRoomWaitsNoLongerThanItIsTold) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  std::atomic<bool> over = false;
  std::atomic<bool> sent = true;
  std::thread feeder([&, to = tcp.ref()] {
    Producer feed(to, kBound);
    ASSERT_TRUE(feed.send(SharedBytes::copy(pattern(kBound / 2 - 1))));
    sent = feed.send(SharedBytes::copy(pattern(kBound / 2 + 2)), 10ms);
    over = true;
  });
  EXPECT_TRUE(wait_until([&] { return over.load(); })) << "the loop does not turn meanwhile";
  EXPECT_TRUE(tcp.until([&] { return over.load(); }));
  feeder.join();
  EXPECT_FALSE(sent);
}

TEST(Producer, F25_WhatWaitsIsBoundedAndNothingIsLost) {
  constexpr std::size_t kMessages = 500;
  Slow slow;
  std::atomic<bool> over = false;
  std::thread feeder([&] {
    Producer feed(slow.tcp.ref(), kBound);
    for (std::size_t i = 0; i < kMessages; ++i) {
      ASSERT_TRUE(feed.send(SharedBytes::copy(pattern(kMessage, i * kMessage))));
      EXPECT_LE(feed.pending(), kBound);
    }
    EXPECT_EQ(feed.dropped(), 0u);
    over = true;
  });
  std::uint64_t most = 0;
  std::string got;
  EXPECT_TRUE(slow.tcp.until(
      [&] {
        most = std::max(most, slow.tcp.connection()->pending_output());
        got += slow.client.receive_exactly(8192, Duration::zero());
        return over && got.size() == kMessages * kMessage;
      },
      30s));
  feeder.join();
  EXPECT_TRUE(got == pattern(kMessages * kMessage));
  EXPECT_LE(most, kHigh + kBound + kMessage);
  EXPECT_GT(most, kHigh);
}

TEST(Producer, ItIsFullAboveTheHighMarkAndOnRoomIsCalledOnceWhenItDrains) {
  Slow slow;
  Producer producer(slow.tcp.ref(), kBound);
  int rooms = 0;
  producer.on_room([&] {
    EXPECT_TRUE(slow.tcp.loop.in_loop_thread());
    ++rooms;
  });
  const std::size_t sent = slow.fill(producer);
  EXPECT_GT(slow.tcp.connection()->pending_output(), kHigh - kMessage);
  EXPECT_EQ(producer.pending(), 0u);
  EXPECT_EQ(rooms, 0);
  EXPECT_EQ(slow.tcp.collect(slow.client, sent * kMessage).size(), sent * kMessage);
  EXPECT_TRUE(slow.tcp.until([&] { return rooms == 1; }));
  EXPECT_EQ(producer.try_send(SharedBytes::copy("more")), Result::queued);
  EXPECT_EQ(slow.tcp.collect(slow.client, 4), "more");
  EXPECT_EQ(rooms, 1);
}

TEST(Producer, WhatIsOnItsWayIsBoundedWhileTheLoopDoesNotTurn) {
  Slow slow;
  Producer producer(slow.tcp.ref(), kBound);
  on_other_thread([&] {
    std::size_t sent = 0;
    while (producer.try_send(SharedBytes::copy(pattern(kMessage))) == Result::queued) ++sent;
    EXPECT_EQ(sent, kBound / kMessage);
    EXPECT_EQ(producer.pending(), kBound);
    EXPECT_FALSE(producer.send(SharedBytes::copy("x"), 10ms)) << "the time was not heeded";
  });
  EXPECT_EQ(slow.tcp.collect(slow.client, kBound).size(), kBound);
}

TEST(Producer, AMessageAboveTheBoundPassesAlone) {
  Slow slow({.high_water = 1024 * 1024});
  Producer producer(slow.tcp.ref(), kBound);
  on_other_thread([&] {
    EXPECT_EQ(producer.try_send(SharedBytes::copy(pattern(4 * kBound))), Result::queued);
    EXPECT_EQ(producer.try_send(SharedBytes::copy("x")), Result::full);
  });
  EXPECT_TRUE(slow.tcp.collect(slow.client, 4 * kBound) == pattern(4 * kBound));
  EXPECT_EQ(producer.try_send(SharedBytes::copy("x")), Result::queued);
}

TEST(Producer, OnTheConnectionsOwnThreadItActsAtOnce) {
  TcpHarness tcp;
  std::optional<Producer> producer;
  tcp.on.data = [&](TcpConnection& connection, Buffer& in) {
    if (!producer) producer.emplace(connection.ref());
    EXPECT_EQ(producer->try_send(SharedBytes::copy(in.take())), Result::queued);
    EXPECT_EQ(producer->pending(), 0u);
  };
  TestClient client = tcp.connect();
  client.send_all("ping");
  EXPECT_EQ(tcp.collect(client, 4), "ping");
}

// --- ends ----------------------------------------------------------------------------------------

TEST(Producer, AThreadThatWaitsIsWokenByTheEndOfTheConnection) {
  Slow slow;
  std::atomic<bool> said = true;
  std::atomic<std::size_t> sent = 0;
  std::thread feeder([&] {
    Producer feed(slow.tcp.ref(), kBound);
    while (feed.send(SharedBytes::copy(pattern(kMessage)))) ++sent;
    EXPECT_TRUE(feed.ended());
    said = false;
  });
  EXPECT_TRUE(slow.tcp.until([&] { return slow.tcp.calls.blocked == 1; }));
  slow.client.reset();
  EXPECT_TRUE(slow.tcp.until([&] { return !said; }));
  feeder.join();
  EXPECT_GT(sent, 0u);
}

TEST(Producer, OnRoomTellsTheEndToo) {
  Slow slow;
  Producer producer(slow.tcp.ref(), kBound);
  int rooms = 0;
  producer.on_room([&] {
    ++rooms;
    EXPECT_TRUE(producer.ended());
  });
  slow.client.reset();
  EXPECT_TRUE(slow.tcp.until([&] { return rooms == 1; }));
  EXPECT_EQ(producer.try_send(SharedBytes::copy("x")), Result::ended);
  run_turn(slow.tcp.loop);
  EXPECT_EQ(rooms, 1);
}

TEST(Producer, OfAConnectionThatHasEndedOrNeverWasItHasEnded) {
  Slow slow;
  const ConnectionRef ref = slow.tcp.ref();
  slow.client.reset();
  ASSERT_TRUE(slow.tcp.until_closed());
  Producer late(ref);
  EXPECT_TRUE(late.ended());
  Producer none{ConnectionRef()};
  EXPECT_TRUE(none.ended());
  EXPECT_EQ(none.try_send(SharedBytes::copy("x")), Result::ended);
  std::optional<Producer> elsewhere;
  on_other_thread([&] { elsewhere.emplace(ref); });
  EXPECT_FALSE(elsewhere->ended());  // it is not known yet
  run_turn(slow.tcp.loop);
  EXPECT_TRUE(elsewhere->ended());
}

TEST(Producer, F06_ItMayOutliveTheLoop) {
  std::optional<Producer> producer;
  {
    Slow slow;
    producer.emplace(slow.tcp.ref(), kBound);
    on_other_thread([&] { EXPECT_EQ(producer->try_send(SharedBytes::copy("x")), Result::queued); });
  }
  EXPECT_TRUE(producer->ended());
  EXPECT_FALSE(producer->send(SharedBytes::copy("x")));
  EXPECT_EQ(producer->pending(), 0u);
}

TEST(Producer, F06_DestroyedItIsNotCalledAndWhatItHandedOverIsSent) {
  Slow slow;
  bool called = false;
  std::size_t sent = 0;
  {
    Producer producer(slow.tcp.ref(), kBound);
    producer.on_room([&] { called = true; });
    sent = slow.fill(producer);
  }
  EXPECT_EQ(slow.tcp.collect(slow.client, sent * kMessage).size(), sent * kMessage);
  slow.client.reset();
  EXPECT_TRUE(slow.tcp.until_closed());
  EXPECT_FALSE(called);
}

TEST(Producer, SeveralProducersOfOneConnectionAreAllTold) {
  Slow slow;
  Producer first(slow.tcp.ref(), kBound);
  Producer second(slow.tcp.ref(), kBound);
  int rooms = 0;
  first.on_room([&] { ++rooms; });
  second.on_room([&] { ++rooms; });
  std::size_t sent = slow.fill(first);
  EXPECT_EQ(second.try_send(SharedBytes::copy(pattern(kMessage))), Result::queued);
  EXPECT_EQ(second.try_send(SharedBytes::copy("x")), Result::full);
  sent += 1;
  EXPECT_EQ(slow.tcp.collect(slow.client, sent * kMessage).size(), sent * kMessage);
  EXPECT_TRUE(slow.tcp.until([&] { return rooms == 2; }));
}

TEST(Producer, WhatMaxOutputRefusesIsCounted) {
  Slow slow({.high_water = 1000, .max_output = 1000, .overflow = Overflow::drop});
  Producer producer(slow.tcp.ref(), kBound);
  slow.tcp.connection()->send("waiting");
  EXPECT_EQ(producer.try_send(SharedBytes::copy(std::string(2000, 'x'))), Result::queued);
  EXPECT_EQ(producer.dropped(), 1u);
  EXPECT_FALSE(producer.ended());
}

TEST(Producer, F60_WaitingOnTheLoopsThreadEndsTheProgramWithASentence) {
  Slow slow;
  Producer producer(slow.tcp.ref());
  EXPECT_DEATH(static_cast<void>(producer.send(SharedBytes::copy("x"))), "wait for itself");
}

}  // namespace
}  // namespace weir::test
