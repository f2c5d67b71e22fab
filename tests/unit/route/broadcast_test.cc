// One message to many: order, who gets it, what becomes of the slow, and every way to end.
#include "weir/net/route/broadcast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/loops.h"
#include "support/memory.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;

SharedBytes shared(std::string_view text) { return SharedBytes::copy(text); }

TEST(Broadcast, AllMembersGetAllMessagesInOrderButTheOneLeftOut) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) { room.join(c); };
  TestClient first = tcp.connect();
  TestClient second = tcp.connect();
  TestClient third = tcp.connect();
  room.send(shared("one "));
  room.send(shared("two "), tcp.refs[1]);
  room.send(shared(""));
  room.send(shared("three"));
  EXPECT_EQ(tcp.collect(first, 13), "one two three");
  EXPECT_EQ(tcp.collect(second, 9), "one three");
  EXPECT_EQ(tcp.collect(third, 13), "one two three");
  EXPECT_EQ(room.stats().members, 3u);
  EXPECT_EQ(room.stats().delivered, 8u);
  EXPECT_EQ(room.stats().skipped, 0u);
}

TEST(Broadcast, OneTaskALoopAndNoCopy) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) {
    shrink_send_buffer(c);
    room.join(c);
  };
  constexpr std::size_t kMembers = 20;
  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < kMembers; ++i) clients.push_back(tcp.connect(0, 4096));
  const std::uint64_t at_first = tcp.loop.stats().tasks;
  tcp.turns(2);
  const std::uint64_t tasks = tcp.loop.stats().tasks;
  const SharedBytes large = shared(std::string(200'000, 'x'));
  room.send(large);
  EXPECT_EQ(tcp.loop.stats().tasks, tasks);  // never inside the call
  tcp.turns(2);
  EXPECT_EQ(tcp.loop.stats().tasks - tasks, tasks - at_first + 1);
  EXPECT_EQ(large.use_count(), kMembers + 1);  // all wait for the one message
  for (TestClient& client : clients) {
    EXPECT_EQ(tcp.collect(client, 200'000).size(), 200'000u);
  }
  EXPECT_EQ(large.use_count(), 1u);
}

TEST(Broadcast, WhoeverEndsOrLeavesIsOut) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) {
    room.join(c);
    room.join(c);  // once is enough
  };
  TestClient first = tcp.connect();
  TestClient second = tcp.connect();
  TestClient third = tcp.connect();
  EXPECT_EQ(room.stats().members, 3u);
  first.reset();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(room.stats().members, 2u);
  room.leave(*tcp.refs[1].get());
  room.leave(*tcp.refs[1].get());
  EXPECT_EQ(room.stats().members, 1u);
  room.send(shared("a"));
  EXPECT_EQ(tcp.collect(third, 1), "a");
  room.join(*tcp.refs[1].get());
  room.send(shared("b"));
  EXPECT_EQ(tcp.collect(second, 1), "b");
  EXPECT_EQ(tcp.collect(third, 1), "b");
  tcp.connection()
      ->abort();  // told in the reap phase: until then it is a member that takes nothing
  room.send(shared("c"));
  EXPECT_EQ(tcp.collect(second, 1), "c");
  EXPECT_EQ(room.stats().members, 1u);
  EXPECT_EQ(room.stats().delivered, 4u);
}

TEST(Broadcast, AConnectionMayBeInSeveralAndIsForgottenByAll) {
  TcpHarness tcp;
  std::optional<Broadcast> news(std::in_place);
  Broadcast sport;
  tcp.on.open = [&](TcpConnection& c) {
    news->join(c);
    sport.join(c);
  };
  TestClient client = tcp.connect();
  news->send(shared("news "));
  sport.send(shared("sport "));
  EXPECT_EQ(tcp.collect(client, 11), "news sport ");
  news->leave(*tcp.connection());
  news->send(shared("lost"));
  sport.send(shared("goal "));
  EXPECT_EQ(tcp.collect(client, 5), "goal ");
  news->join(*tcp.connection());
  news.reset();
  sport.send(shared("end"));
  EXPECT_EQ(tcp.collect(client, 3), "end");
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(sport.stats().members, 0u);
}

TEST(Broadcast, MayBeUsedInsideEveryHandler) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) {
    room.join(c);
    room.send(shared("hello "));
  };
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    room.send(shared(in.take()), c.ref());
    room.leave(c);
    room.join(c);
  };
  tcp.on.close = [&](TcpConnection& c, CloseReason) {
    room.join(c);  // too late: does nothing
    room.send(shared("bye "));
    room.leave(c);
  };
  TestClient first = tcp.connect();
  EXPECT_EQ(tcp.collect(first, 6), "hello ");
  TestClient second = tcp.connect();
  EXPECT_EQ(tcp.collect(first, 6), "hello ");
  EXPECT_EQ(tcp.collect(second, 6), "hello ");
  ASSERT_TRUE(second.send_all("data "));
  EXPECT_EQ(tcp.collect(first, 5), "data ");
  second.close();
  EXPECT_EQ(tcp.collect(first, 4), "bye ");
  EXPECT_EQ(room.stats().members, 1u);
}

// Messages wait in the mailbox when the second one joins: they were sent before.
TEST(Broadcast, WhoJoinsGetsWhatIsSentFromThenOnAndNothingOlder) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    for (const char step : in.take()) {
      if (step == 'j') room.join(c);
      if (step == 'l') room.leave(c);
      if (step >= '0' && step <= '9') room.send(shared({&step, 1}));
    }
  };
  TestClient first = tcp.connect();
  ASSERT_TRUE(first.send_all("j0"));
  EXPECT_EQ(tcp.collect(first, 1), "0");
  TestClient second = tcp.connect();
  ASSERT_TRUE(second.send_all("12j34l5j6"));
  EXPECT_EQ(tcp.collect(first, 6), "123456");
  EXPECT_EQ(tcp.collect(second, 1), "6");  // 3 and 4 went out after it had left and come back
  ASSERT_TRUE(second.send_all("7"));
  EXPECT_EQ(tcp.collect(second, 1), "7");
  EXPECT_EQ(room.stats().delivered, 10u);
}

// --- the slow ------------------------------------------------------------------------------------

// A member that reads nothing, with `sent` messages of 1 KiB and its high mark reached on the way.
struct SlowMember {
  static constexpr std::size_t kMessage = 1024;
  static constexpr std::uint64_t kHigh = 32 * kMessage;

  SlowMember(SlowPolicy policy, Trigger trigger)
      : tcp({.trigger = trigger, .high_water = kHigh}), room(policy) {
    tcp.on.open = [this](TcpConnection& c) {
      shrink_send_buffer(c);
      room.join(c);
    };
    client = tcp.connect(0, 4096);
  }
  static std::string message(std::size_t i) {
    std::string text = std::to_string(i);
    text.resize(kMessage, '.');
    return text;
  }
  void send(std::size_t messages) {
    for (std::size_t i = 0; i < messages; ++i) {
      room.send(shared(message(sent++)));
      run_turn(tcp.loop);
      if (tcp.connection() == nullptr) continue;
      EXPECT_LE(tcp.connection()->pending_output(), kHigh + kMessage);
    }
  }
  // What it finds when it reads at last: the numbers of the messages.
  std::vector<std::size_t> read_all() {
    std::string bytes;
    const auto drained = [&] {
      bytes += client.receive_exactly(1 << 20, Duration::zero());
      return tcp.connection()->pending_output() == 0 && bytes.size() % kMessage == 0 &&
             received + bytes.size() >= tcp.connection()->bytes_out();
    };
    EXPECT_TRUE(tcp.until(drained));
    received += bytes.size();
    std::vector<std::size_t> numbers;
    for (std::size_t at = 0; at + kMessage <= bytes.size(); at += kMessage) {
      numbers.push_back(std::stoul(bytes.substr(at)));
      EXPECT_EQ(bytes.substr(at, kMessage), message(numbers.back()));
    }
    return numbers;
  }

  TcpHarness tcp;
  Broadcast room;
  TestClient client;
  std::size_t sent = 0;
  std::size_t received = 0;  // bytes
};

// The numbers 0, 1, 2, ... up to the first that is missing.
std::size_t unbroken(const std::vector<std::size_t>& numbers) {
  std::size_t n = 0;
  while (n < numbers.size() && numbers[n] == n) ++n;
  return n;
}

TEST(Broadcast, SkipLeavesWholeMessagesOutAndGoesOnAfterwards) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    SlowMember slow(SlowPolicy::skip, trigger);
    slow.send(100);
    const std::uint64_t skipped = slow.room.stats().skipped;
    EXPECT_GT(skipped, 0u);
    EXPECT_EQ(skipped + slow.room.stats().delivered, 100u);
    EXPECT_EQ(slow.tcp.calls.blocked, 1);
    std::vector<std::size_t> got = slow.read_all();
    EXPECT_EQ(got.size(), 100 - skipped);
    EXPECT_EQ(unbroken(got), got.size());  // those that were skipped came after
    EXPECT_EQ(slow.tcp.calls.drained, 1);  // the handler is told all the same
    slow.send(1);
    got = slow.read_all();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0], 100u);
    EXPECT_TRUE(rests(slow.tcp.loop, slow.tcp.faults, std::chrono::milliseconds(200)));
  }
}

// More than the high mark in one turn, for a socket that takes it: nobody is slow.
TEST(Broadcast, MuchInOneTurnMakesNobodySlow) {
  for (const Trigger trigger : kTriggers) {
    for (const SlowPolicy policy : {SlowPolicy::skip, SlowPolicy::close}) {
      for (const std::size_t high_water : {1000U, 4000U}) {  // reached before and after a piece
        TcpHarness tcp({.trigger = trigger, .high_water = high_water, .max_output = 8000});
        Broadcast room(policy);
        tcp.on.open = [&](TcpConnection& c) { room.join(c); };
        TestClient client = tcp.connect();
        for (int i = 0; i < 100; ++i) room.send(shared(std::string(500, 'x')));
        EXPECT_EQ(tcp.collect(client, 50'000).size(), 50'000u);
        EXPECT_EQ(room.stats().delivered, 100u);
        EXPECT_EQ(room.stats().skipped + room.stats().closed, 0u);
      }
    }
  }
}

// Nor does it wait for the turn's end, where each member would hold a copy of all of it.
TEST(Broadcast, MuchInOneTurnIsWrittenInPieces) {
  TcpHarness tcp;
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) { room.join(c); };
  TestClient client = tcp.connect();
  std::uint64_t largest = 0;
  for (const Call call : {Call::send, Call::sendmsg}) {
    tcp.faults.on(call).hook(
        [&] { largest = std::max(largest, tcp.connection()->pending_output()); });
  }
  for (int i = 0; i < 1000; ++i) room.send(shared(std::string(100, 'x')));
  EXPECT_EQ(tcp.collect(client, 100'000).size(), 100'000u);
  EXPECT_GE(largest, 3'000u);
  EXPECT_LE(largest, 4'096u);
}

TEST(Broadcast, LatestOnlyBringsTheNewestWhenTheSlowHasDrained) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    SlowMember slow(SlowPolicy::latest_only, trigger);
    slow.send(100);
    const std::uint64_t delivered = slow.room.stats().delivered;
    EXPECT_EQ(slow.room.stats().skipped, 100 - delivered - 1);  // one waits
    const std::vector<std::size_t> got = slow.read_all();
    ASSERT_EQ(got.size(), delivered + 1);
    EXPECT_EQ(unbroken(got), delivered);
    EXPECT_EQ(got.back(), 99u);
    EXPECT_EQ(slow.room.stats().delivered, delivered + 1);
    EXPECT_EQ(slow.tcp.calls.drained, 1);
  }
}

TEST(Broadcast, CloseResetsTheSlowAndNobodyElse) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    SlowMember slow(SlowPolicy::close, trigger);
    TestClient quick = slow.tcp.connect();
    std::string got;
    for (int i = 0; i < 100; ++i) {
      slow.send(1);
      got += slow.tcp.collect(quick, SlowMember::kMessage);
    }
    EXPECT_EQ(got.size(), 100 * SlowMember::kMessage);
    EXPECT_TRUE(slow.tcp.until_closed());
    EXPECT_EQ(*slow.tcp.reason, (CloseReason{Kind::output_overflow, Errno(ENOBUFS)}));
    EXPECT_EQ(slow.client.wait_for_end(), TestClient::End::reset);
    EXPECT_EQ(slow.tcp.calls.close, 1);
    EXPECT_EQ(slow.room.stats().closed, 1u);
    EXPECT_EQ(slow.room.stats().members, 1u);
  }
}

TEST(Broadcast, WhatWaitsForASlowMemberIsGivenBackWithIt) {
  SlowMember slow(SlowPolicy::latest_only, Trigger::level);
  slow.send(100);
  const SharedBytes newest = shared("newest");
  slow.room.send(newest);
  slow.tcp.turns(2);
  EXPECT_EQ(newest.use_count(), 2u);
  slow.client.reset();
  EXPECT_TRUE(slow.tcp.until_closed());
  EXPECT_EQ(newest.use_count(), 1u);
}

TEST(Broadcast, AMessageThatMaxOutputRefusesIsSkippedWhole) {
  TcpHarness tcp({.high_water = 1000, .max_output = 1000, .overflow = Overflow::drop});
  Broadcast room;
  tcp.on.open = [&](TcpConnection& c) { room.join(c); };
  TestClient client = tcp.connect();
  tcp.connection()->send("waiting ");
  room.send(shared(std::string(2000, 'x')));
  room.send(shared("small"));
  EXPECT_EQ(tcp.collect(client, 13), "waiting small");
  EXPECT_EQ(room.stats().skipped, 1u);
}

// --- ends ----------------------------------------------------------------------------------------

TEST(Broadcast, F06_MayBeDestroyedWithMembersAndMessagesUnderWay) {
  TcpHarness tcp;
  auto room = std::make_unique<Broadcast>();
  tcp.on.open = [&](TcpConnection& c) { room->join(c); };
  TestClient client = tcp.connect();
  room->send(shared("sent before"));
  room.reset();
  EXPECT_EQ(tcp.collect(client, 11), "sent before");
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_TRUE(tcp.until([&] { return tcp.received == "x"; }));
  client.close();
  EXPECT_TRUE(tcp.until_closed());
}

TEST(Broadcast, F06_MayBeDestroyedInAHandlerAndBeforeOrAfterItsServer) {
  for (const bool server_first : {false, true}) {
    TcpHarness tcp;
    auto room = std::make_unique<Broadcast>();
    tcp.on.open = [&](TcpConnection& c) { room->join(c); };
    tcp.on.data = [&](TcpConnection&, Buffer& in) {
      in.clear();
      room->send(shared("x"));
      if (server_first) tcp.server.reset();
      room.reset();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("go"));
    EXPECT_TRUE(tcp.until([&] { return room == nullptr; }));
    tcp.turns(2);
  }
}

TEST(Broadcast, F06_OutlivesTheLoopsOfItsMembers) {
  Broadcast room;
  for (int i = 0; i < 3; ++i) {
    EventLoop loop;
    EchoServer echo(loop, {.threads = 2});
    echo.server.on_open([&](TcpConnection& c) { room.join(c); });
    const SocketAddress where = echo.listen();
    serve_while(loop, [&] {
      TestClient first(where);
      TestClient second(where);
      EXPECT_TRUE(wait_until([&] { return room.stats().members == 2; }));
      room.send(shared("hello"));
      EXPECT_EQ(first.receive_exactly(5), "hello");
      EXPECT_EQ(second.receive_exactly(5), "hello");
    });
  }
  room.send(shared("to nobody"));
  EXPECT_EQ(room.stats().delivered, 6u);
}

// Every thread's messages come in its order, and all members see one order of all.
TEST(Broadcast, F34_SendsOfManyThreadsComeInOneOrderToMembersOnManyLoops) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kMessages = kSanitized ? 200 : 2000;
  constexpr std::size_t kClients = 6;
  EventLoop loop;
  Broadcast room;
  EchoServer echo(loop, {.threads = 3});
  echo.server.on_open([&](TcpConnection& c) { room.join(c); });
  const SocketAddress where = echo.listen();
  serve_while(loop, [&] {
    std::vector<TestClient> clients;
    for (std::size_t i = 0; i < kClients; ++i) clients.emplace_back(where);
    ASSERT_TRUE(wait_until([&] { return room.stats().members == kClients; }));
    std::vector<std::thread> senders;
    for (std::size_t t = 0; t < kThreads; ++t) {
      senders.emplace_back([&room, t] {
        for (std::size_t i = 0; i < kMessages; ++i) {
          std::string text = std::to_string(t) + ':' + std::to_string(i);
          text.resize(15, ' ');
          room.send(SharedBytes::copy(text + '\n'));
        }
      });
    }
    for (std::thread& sender : senders) sender.join();
    constexpr std::size_t kBytes = kThreads * kMessages * 16;
    const std::string first = clients[0].receive_exactly(kBytes);
    std::vector<std::size_t> next(kThreads, 0);
    for (std::size_t at = 0; at + 16 <= first.size(); at += 16) {
      const std::size_t sender = static_cast<std::size_t>(first[at] - '0');
      EXPECT_EQ(std::stoul(first.substr(at + 2)), next.at(sender)++);
    }
    EXPECT_EQ(next, std::vector<std::size_t>(kThreads, kMessages));
    for (std::size_t i = 1; i < kClients; ++i) {
      EXPECT_TRUE(clients[i].receive_exactly(kBytes) == first) << i;
    }
  });
}

// Members come and go, messages are sent and the Broadcast is destroyed, all on different threads.
TEST(Broadcast, F34_JoiningEndingSendingAndDestroyingRace) {
  EventLoop loop;
  std::mutex mutex;
  auto room = std::make_shared<Broadcast>();
  const auto current = [&] {
    const std::lock_guard lock(mutex);
    return room;
  };
  EchoServer echo(loop, {.threads = 2});
  echo.server.on_open([&](TcpConnection& c) { current()->join(c); });
  const SocketAddress where = echo.listen();
  std::atomic<bool> over{false};
  std::thread sender([&] {
    while (!over) {
      current()->send(shared("message"));
      std::this_thread::sleep_for(std::chrono::microseconds(50));  // or the mailboxes would grow
    }
  });
  serve_while(loop, [&] {
    for (int i = 0; i < 50; ++i) {
      TestClient client(where);
      EXPECT_FALSE(client.receive_exactly(7).empty());
      if (i % 10 == 9) {
        auto fresh = std::make_shared<Broadcast>();
        const std::lock_guard lock(mutex);
        std::swap(room, fresh);
      }
    }
    over = true;
    sender.join();
    EXPECT_TRUE(wait_until([&] { return echo.server.connection_count() == 0; }));
  });
  EXPECT_EQ(current()->stats().members, 0u);
}

}  // namespace
}  // namespace weir::test
