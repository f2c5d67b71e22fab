// The budget of bytes that all connections together may buffer: its account, and its bound.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/memory.h"
#include "support/scoped_budget.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "support/valgrind.h"
#include "weir/base/fd.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/internal/buffer_budget.h"

namespace weir::test {
namespace {

using internal::BufferBudget;
using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

constexpr std::uint64_t kShare = BufferBudget::kOwnShare;

// --- the account ---------------------------------------------------------------------------------

TEST(BufferBudget, TheProcessIsToldInBatchesAndWhenAllIsGivenBack) {
  const std::uint64_t before = buffered_bytes();
  {
    BufferBudget budget(0);
    budget.change(0, BufferBudget::kBatch - 1);
    EXPECT_EQ(buffered_bytes(), before);
    budget.change(0, 1);
    EXPECT_EQ(buffered_bytes(), before + BufferBudget::kBatch);
    budget.change(1, 0);
    EXPECT_EQ(budget.held(), static_cast<std::uint64_t>(BufferBudget::kBatch - 1));
    budget.change(BufferBudget::kBatch - 1, 0);
    EXPECT_EQ(buffered_bytes(), before);
    budget.change(0, 5'000'000);
  }
  EXPECT_EQ(buffered_bytes(), before);
}

TEST(BufferBudget, RoomEndsExactlyAtTheBound) {
  BufferBudget budget(1000);
  budget.change(0, 600);
  EXPECT_TRUE(budget.has_room(400));
  EXPECT_FALSE(budget.has_room(401));
  EXPECT_FALSE(budget.has_room(~std::uint64_t{0}));
  budget.change(600, 2000);
  EXPECT_FALSE(budget.has_room(0));
  budget.change(2000, 0);
}

TEST(BufferBudget, TheProcesssBoundHoldsForAllTogether) {
  EXPECT_GT(buffer_budget(), 0u);  // at first, a quarter of the memory
  const ScopedBudget scoped(buffered_bytes() + 1'000'000);
  BufferBudget one(0);
  BufferBudget other(0);
  one.change(0, 700'000);
  EXPECT_TRUE(other.has_room(300'000));
  EXPECT_FALSE(other.has_room(300'001));
  set_buffer_budget(0);
  EXPECT_EQ(buffer_budget(), 0u);
  EXPECT_TRUE(other.has_room(std::uint64_t{1} << 60));
  one.change(700'000, 0);
}

TEST(BufferBudget, WhatWaitsIsCountedAndGivenBackHoweverAConnectionEnds) {
  TcpHarness tcp;
  tcp.on.open = shrink_send_buffer;
  const std::string reply(300'000, 'r');
  for (int way = 0; way < 4; ++way) {
    SCOPED_TRACE(way);
    TestClient client = tcp.connect(0, 4096);
    tcp.connection()->send(reply);
    const std::uint64_t held = tcp.server->stats().buffered;
    EXPECT_GE(held, tcp.connection()->pending_output());
    EXPECT_LE(held, reply.size() + 64);
    if (way == 0) {
      EXPECT_EQ(tcp.collect(client, reply.size()).size(), reply.size());
      EXPECT_EQ(tcp.server->stats().buffered, 0u);
    }
    if (way == 1) tcp.connection()->abort();
    if (way == 2) client.reset();
    if (way == 3) tcp.connection()->close();
    if (way == 3) tcp.collect_all(client);
    client.close();
    EXPECT_TRUE(tcp.until_closed(way + 1));
    EXPECT_EQ(tcp.server->stats().buffered, 0u);
  }
  TestClient client = tcp.connect(0, 4096);
  tcp.connection()->send(reply);
  const std::uint64_t before = buffered_bytes();
  tcp.server.reset();
  tcp.turns(2);
  EXPECT_LT(buffered_bytes(), before);
}

TEST(BufferBudget, InputThatIsLeftIsCountedByTheMemoryItHolds) {
  TcpHarness tcp;
  tcp.on.data = [](TcpConnection&, Buffer& in) {
    if (in.size() == 100'001) in.clear();
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all(std::string(100'000, 'x')));
  EXPECT_TRUE(tcp.until([&] { return tcp.connection()->pending_input() == 100'000; }));
  EXPECT_GE(tcp.server->stats().buffered, 100'000u);
  EXPECT_LE(tcp.server->stats().buffered, 200'000u);
  ASSERT_TRUE(client.send_all("!"));
  EXPECT_TRUE(tcp.until([&] { return tcp.connection()->pending_input() == 0; }));
  EXPECT_EQ(tcp.server->stats().buffered, 0u);
}

// --- output at the bound -------------------------------------------------------------------------

TEST(BufferBudget, F25_OverTheBudgetOverflowDecides) {
  constexpr std::uint64_t kBudget = 1'000'000;
  const SharedBytes piece = SharedBytes::copy(std::string(20'000, 'p'));
  for (const Overflow overflow : {Overflow::close, Overflow::drop}) {
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.overflow = overflow, .max_buffered_per_loop = kBudget});
    tcp.on.open = shrink_send_buffer;
    std::vector<TestClient> clients;
    for (int i = 0; i < 2; ++i) clients.push_back(tcp.connect(0, 4096));
    int refused = 0;
    for (int i = 0; i < 40; ++i) {  // 800 kB for each of two, below max_output
      for (const ConnectionRef& ref : tcp.refs) {
        TcpConnection* connection = ref.get();
        if (connection == nullptr) continue;
        const SendResult result = connection->send(piece);
        refused += result == SendResult::dropped || result == SendResult::closed ? 1 : 0;
        EXPECT_LE(tcp.server->stats().buffered, kBudget);
      }
    }
    EXPECT_GT(refused, 0);
    EXPECT_EQ(tcp.server->stats().over_budget, static_cast<std::uint64_t>(refused));
    if (overflow == Overflow::close) {
      EXPECT_TRUE(tcp.until_closed());
      EXPECT_EQ(*tcp.reason, (CloseReason{Kind::output_overflow, Errno(ENOMEM)}));
      EXPECT_EQ(refused, 1);  // its memory was enough for the other
    } else {
      for (std::size_t i = 0; i < clients.size(); ++i) {
        const std::size_t waits = tcp.refs[i].get()->pending_output();
        EXPECT_GE(tcp.collect(clients[i], waits).size(), waits);
      }
      EXPECT_NE(tcp.connection()->send(piece), SendResult::dropped);
    }
  }
}

TEST(BufferBudget, ThoseWhoHoldLittleDoNotPayForThoseWhoHoldMuch) {
  const ExpectLog spent("the budget of buffered bytes is spent");
  TcpHarness tcp({.overflow = Overflow::drop, .max_buffered_per_loop = 500'000});
  tcp.on.open = shrink_send_buffer;
  tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
  TestClient greedy = tcp.connect(0, 4096);
  while (tcp.connection()->send(std::string(10'000, 'x')) != SendResult::dropped) {
  }
  TestClient modest = tcp.connect();
  const std::string request(kShare / 2, 'm');
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(modest.send_all(request));
    EXPECT_EQ(tcp.collect(modest, request.size()), request);
  }
  // Nor does a large message that the socket takes at once.
  tcp.on.open = nullptr;
  TestClient bulk = tcp.connect(0, 1 << 20);
  EXPECT_EQ(tcp.connection()->send(std::string(2 * kShare, 'b')), SendResult::queued);
  EXPECT_EQ(tcp.collect(bulk, 2 * kShare).size(), 2 * kShare);
}

// --- input at the bound --------------------------------------------------------------------------

// Unfinished messages take all there is: they are not read on, without a spin, until some of them
// are given up by their peers.
TEST(BufferBudget, F27_InputIsNotReadOverTheBudgetAndIsWokenWhenThereIsRoom) {
  constexpr std::size_t kMessage = 190'000;  // in a Buffer of twice that at most
  constexpr std::size_t kHalf = 180'000;
  constexpr std::uint64_t kBudget = 385'000;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = kBudget});
    std::size_t whole = 0;
    tcp.on.data = [&](TcpConnection&, Buffer& in) {
      if (in.size() < kMessage) return;
      in.consume(kMessage);
      ++whole;
    };
    TestClient first = tcp.connect();
    TestClient second = tcp.connect();
    TestClient third = tcp.connect();
    const std::string message(kMessage, 'x');
    const auto feed = [&](TestClient& client, std::size_t& sent, std::size_t most) {
      const std::size_t piece = std::min<std::size_t>(20'000, most - sent);
      sent += client.send_some(std::string_view(message).substr(sent, piece), Duration::zero());
    };
    std::size_t sent_first = 0;
    std::size_t sent_second = 0;
    std::size_t sent_third = 0;
    for (int i = 0; i < 100; ++i) {
      feed(first, sent_first, kHalf);
      feed(second, sent_second, kHalf);
      feed(third, sent_third, kMessage);
      tcp.turns(5);
    }
    EXPECT_GT(tcp.server->stats().starved, 0u);
    EXPECT_GE(tcp.server->stats().buffered, kBudget);
    EXPECT_LE(tcp.server->stats().buffered, kBudget + 3 * 2 * kShare);
    EXPECT_EQ(whole, 0u);
    run_for(tcp.loop, 300ms);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults));
    first.reset();
    second.reset();  // their memory is the third's
    EXPECT_TRUE(tcp.until(
        [&] {
          feed(third, sent_third, kMessage);
          return whole == 1;
        },
        2s));
    EXPECT_TRUE(tcp.until_closed(2));
    EXPECT_EQ(tcp.reason->kind, Kind::reset);
    EXPECT_EQ(tcp.server->stats().buffered, 0u);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults));
    ASSERT_TRUE(third.send_all("still read"));
    EXPECT_TRUE(tcp.until([&] { return tcp.connection()->pending_input() == 10; }));
  }
}

// Bytes that another server of the process releases are noticed, too.
TEST(BufferBudget, RoomThatAnotherServerMakesIsNoticed) {
  const ExpectLog spent("the budget of buffered bytes is spent");
  const ScopedBudget scoped(buffered_bytes() + 500'000);
  TcpHarness tcp;
  TcpServer other(tcp.loop);
  ConnectionRef greedy;
  other.on_open([&](TcpConnection& c) {
    shrink_send_buffer(c);
    greedy = c.ref();
    c.send(SharedBytes::copy(std::string(450'000, 'g')));
  });
  const auto address = other.listen("127.0.0.1:0");
  ASSERT_TRUE(address);
  TestClient idle;
  idle.set_buffers(0, 4096);
  ASSERT_TRUE(idle.connect(*address));
  EXPECT_TRUE(tcp.until([&] { return greedy.get() != nullptr; }));
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    if (in.size() == 200'000) in.clear();
  };
  TestClient client = tcp.connect();
  std::size_t sent = 0;
  const std::string message(200'000, 'm');
  const auto feed = [&] {
    sent += client.send_some(std::string_view(message).substr(sent), Duration::zero());
  };
  EXPECT_TRUE(tcp.until([&] {
    feed();
    return tcp.server->stats().starved > 0;
  }));
  EXPECT_GT(tcp.connection()->pending_input(), 0u);
  greedy.abort();
  EXPECT_TRUE(tcp.until([&] {
    feed();
    return sent == message.size() && tcp.connection()->pending_input() == 0;
  }));
}

// Halves of messages that fill the budget would wait for each other for ever.
TEST(BufferBudget, HalfReadMessagesThatFillTheBudgetAreGivenUpOneAfterTheOther) {
  const ExpectLog spent("the budget of buffered bytes is spent");
  TcpHarness tcp({.max_buffered_per_loop = 300'000, .linger_timeout = 50ms});
  tcp.on.data = [](TcpConnection&, Buffer&) {};
  std::vector<TestClient> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(tcp.connect());
  for (TestClient& client : clients) {
    const TcpServer::Stats before = tcp.server->stats();
    ASSERT_TRUE(client.send_all(std::string(200'000, 'x')));
    EXPECT_TRUE(tcp.until([&] {
      const TcpServer::Stats now = tcp.server->stats();
      return now.bytes_in == before.bytes_in + 200'000 || now.starved > before.starved;
    }));
  }
  EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved >= 2; }));
  run_for(tcp.loop, 300ms);
  EXPECT_EQ(tcp.calls.close, 0);
  const std::uint64_t in = tcp.server->stats().bytes_in;
  tcp.faults.advance_clock(6s);
  // Looked at after each turn: what the first held, the others read on with from the next one on.
  int turns = 0;
  for (; turns < 10 && tcp.server->stats().buffered >= 300'000; ++turns) tcp.turns(1);
  EXPECT_LT(turns, 10);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::input_overflow, Errno(ENOMEM)}));
  EXPECT_EQ(tcp.calls.close, 1);
  EXPECT_GE(tcp.server->connection_count(), 1u);
  EXPECT_GT(tcp.server->stats().bytes_in, in);
  tcp.faults.advance_clock(6s);
  EXPECT_TRUE(tcp.until_closed(2));
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::input_overflow, Errno(ENOMEM)}));
  EXPECT_GE(tcp.server->connection_count(), 1u);
}

// --- the catalogue -------------------------------------------------------------------------------

// Each reader stands still, and is sent replies of 1 MiB in pieces without a look at the result.
TEST(BufferBudget, F25_StoppedReadersCostNoMoreThanTheirCapsAndTheBudget) {
  constexpr std::size_t kReaders = kSanitized ? 60 : 500;
  constexpr std::uint64_t kCap = 256 * 1024;
  constexpr std::uint64_t kBudget = 24 * 1024 * 1024;
  raise_descriptor_limit();
  for (const bool budgeted : {false, true}) {
    SCOPED_TRACE(budgeted);
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.high_water = kCap,
                    .max_output = kCap,
                    .overflow = Overflow::drop,
                    .max_buffered_per_loop = budgeted ? kBudget : std::uint64_t{0}});
    tcp.on.open = shrink_send_buffer;
    const std::string piece(16 * 1024, 'p');
    std::uint64_t dropped = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.clear();
      for (int i = 0; i < 64; ++i) {
        if (c.send(piece) == SendResult::dropped) ++dropped;
      }
    };
    std::vector<TestClient> readers;
    for (std::size_t i = 0; i < kReaders; ++i) readers.push_back(tcp.connect(0, 4096));
    const std::int64_t before = resident_memory();
    for (TestClient& reader : readers) ASSERT_TRUE(reader.send_all("1 MiB, please"));
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == static_cast<int>(kReaders); }));
    const std::uint64_t bound =
        budgeted ? std::min(kReaders * kCap, kBudget + kReaders * kShare) : kReaders * kCap;
    EXPECT_GT(dropped, 0u);
    EXPECT_LE(tcp.server->stats().buffered, bound);
    EXPECT_GT(tcp.server->stats().buffered, bound / 4);
    if (!kSanitized && !under_valgrind()) {
      EXPECT_LE(resident_memory() - before, static_cast<std::int64_t>(bound + 4 * 1024 * 1024));
    }
    readers.clear();
    EXPECT_TRUE(tcp.until_closed(static_cast<int>(kReaders)));
    EXPECT_EQ(tcp.server->stats().buffered, 0u);
  }
}

// The low mark is half of the high one, so that a producer does not go on and off with every
// message.
TEST(BufferBudget, F26_BlockedAndDrainedDoNotAlternateWithEveryMessage) {
  constexpr std::uint64_t kHigh = 256 * 1024;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = kHigh});
    tcp.on.open = shrink_send_buffer;
    std::uint64_t at_drained = 0;
    tcp.on.drained = [&](TcpConnection& c) { at_drained = c.pending_output(); };
    TestClient client = tcp.connect(0, 4096);
    TcpConnection& c = *tcp.connection();
    while (tcp.calls.blocked == 0) {
      c.send(std::string(8 * 1024, 'x'));
      tcp.turns(1);
    }
    std::size_t rounds = 0;
    while (c.pending_output() > kHigh / 2 && rounds < 1000) {  // down a little, up a little less
      EXPECT_EQ(tcp.calls.drained, 0);
      client.receive_exactly(8 * 1024, Duration::zero());
      tcp.turns(2);
      if (tcp.calls.drained == 0) c.send("y");
      tcp.turns(1);
      ++rounds;
    }
    EXPECT_TRUE(tcp.until([&] {
      client.receive_for(Duration::zero());
      return tcp.calls.drained == 1;
    }));
    EXPECT_GT(rounds, 5u);
    EXPECT_LE(at_drained, kHigh / 2);
    EXPECT_EQ(tcp.calls.blocked, 1);
  }
}

// Pauses are counted, and neither marks nor budget undo one.
TEST(BufferBudget, F26_PausesNestAndTheMarksDoNotUndoThem) {
  constexpr std::uint64_t kHigh = 64 * 1024;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = kHigh});
    tcp.on.open = shrink_send_buffer;
    TestClient client = tcp.connect(0, 4096);
    TcpConnection& c = *tcp.connection();
    c.pause_reading();
    c.pause_reading();
    while (tcp.calls.blocked == 0) {
      c.send(std::string(8 * 1024, 'x'));
      tcp.turns(1);
    }
    ASSERT_TRUE(client.send_all("input"));
    const std::uint64_t waits = c.pending_output();
    EXPECT_GE(tcp.collect(client, waits).size(), waits);
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.drained == 1; }));
    tcp.turns(5);
    EXPECT_EQ(tcp.calls.data, 0);
    c.resume_reading();
    tcp.turns(5);
    EXPECT_EQ(tcp.calls.data, 0);
    c.resume_reading();
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "input"; }));
  }
}

}  // namespace
}  // namespace weir::test
