// Which connections end when the budget of buffered bytes is spent: those that hold bytes without
// progress, on any loop, and not those that need bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/loops.h"
#include "support/scoped_budget.h"
#include "support/tcp_harness.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/internal/buffer_budget.h"
#include "weir/net/sys/sys.h"

namespace weir::test {
namespace {

using internal::BufferBudget;
using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

constexpr Duration kPatience = 6s;  // longer than a holder may stand still

// Sends a message a piece at a time, as the peer takes it, and waits for the answer "ok".
struct Upload {
  TestClient client;
  std::string message;
  std::size_t sent = 0;
  std::string answer;

  void send(std::size_t most) {
    sent += client.send_some(std::string_view(message).substr(sent, most), Duration::zero());
  }
  // Little at a time, so that several have parts of their messages buffered together.
  bool go_on() {
    send(50'000);
    if (answer.size() < 2) answer += client.receive_exactly(2 - answer.size(), Duration::zero());
    return answer == "ok" || client.ended() != TestClient::End::open;
  }
};

// Answers messages of `size` bytes.
void serve_uploads(TcpHarness& tcp, std::size_t size) {
  tcp.on.data = [size](TcpConnection& c, Buffer& in) {
    if (in.size() < size) return;
    in.consume(size);
    c.send("ok");
  };
}

bool all_done(std::vector<Upload>& uploads) {
  bool done = true;
  for (Upload& upload : uploads) done &= upload.go_on();
  return done;
}

std::size_t answered(const std::vector<Upload>& uploads) {
  std::size_t count = 0;
  for (const Upload& upload : uploads) count += upload.answer == "ok" ? 1u : 0u;
  return count;
}

// Has `clients` send, in turn, until that much is buffered, and all that they sent was read.
void fill(TcpHarness& tcp, std::vector<TestClient>& clients, std::uint64_t buffered) {
  std::size_t turn = 0;
  std::uint64_t in = tcp.server->stats().bytes_in;
  EXPECT_TRUE(tcp.until([&] {
    const TcpServer::Stats now = tcp.server->stats();
    if (now.bytes_in < in) return false;
    if (now.buffered >= buffered) return true;
    in += clients[turn++ % clients.size()].send_some(std::string(20'000, 's'), Duration::zero());
    return false;
  }));
}

void expect_all_open(const TcpHarness& tcp) {
  for (const ConnectionRef& ref : tcp.refs) {
    const TcpConnection* const connection = ref.get();
    EXPECT_TRUE(connection != nullptr && connection->state() == TcpConnection::State::open);
  }
}

// Silent peers hold nearly all of 4 MB when six others want to upload at the same time, of whom one
// was there before everybody else. All six fit, even in buffers that are half empty.
TEST(BudgetHolders, F25_SilentPeersGoAndUploadsAreServed) {
  constexpr std::size_t kUpload = 300'000;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp(
        {.trigger = trigger, .max_buffered_per_loop = 4'000'000, .linger_timeout = 50ms});
    serve_uploads(tcp, kUpload);
    std::set<std::uint64_t> silent_ids;
    tcp.on.close = [&](TcpConnection& c, CloseReason why) {
      EXPECT_TRUE(silent_ids.contains(c.id())) << why.to_string();
      EXPECT_EQ(why, (CloseReason{Kind::input_overflow, Errno(ENOMEM)}));
    };
    std::vector<Upload> uploads(6);
    for (Upload& upload : uploads) upload.message = std::string(kUpload, 'u');
    uploads[0].client = tcp.connect();
    uploads[0].send(100'000);
    std::vector<TestClient> silent;
    for (int i = 0; i < 12; ++i) {  // each with less than a message
      silent.push_back(tcp.connect());
      silent_ids.insert(tcp.ref().id());
    }
    EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().bytes_in == uploads[0].sent; }));
    fill(tcp, silent, 3'500'000);
    tcp.faults.advance_clock(kPatience);
    uploads[0].send(10'000);
    tcp.turns(3);
    for (std::size_t i = 1; i < uploads.size(); ++i) uploads[i].client = tcp.connect();
    EXPECT_TRUE(tcp.until([&] { return all_done(uploads); }));
    EXPECT_EQ(answered(uploads), uploads.size());
    EXPECT_TRUE(tcp.until_closed());
    tcp.on.close = nullptr;
  }
}

// The holder may be on another loop, which has no need of memory itself.
TEST(BudgetHolders, F25_ASilentPeerOfAnotherLoopGoesForAnUploadHere) {
  constexpr std::size_t kUpload = 400'000;
  const ExpectLog spent("the budget of buffered bytes is spent");
  const AllowLog moved_clock("held the loop");
  const ScopedBudget scoped(buffered_bytes() + 800'000);
  TcpHarness tcp;
  serve_uploads(tcp, kUpload);
  struct Other {
    EventLoop* loop;
    TcpServer* server;
    SocketAddress address;
  };
  std::promise<Other> started;
  std::thread other([&] {
    const ScopedFaults use(tcp.faults);
    EventLoop loop;
    TcpServer server(loop);
    server.on_data([](TcpConnection&, Buffer&) {});
    started.set_value({&loop, &server, server.listen("127.0.0.1:0").value()});
    loop.run();
  });
  const Other theirs = started.get_future().get();
  TestClient silent(theirs.address);
  std::size_t sent = 0;
  EXPECT_TRUE(wait_until([&] {
    const TcpServer::Stats now = theirs.server->stats();
    if (now.bytes_in < sent) return false;
    if (now.buffered >= 500'000) return true;
    sent += silent.send_some(std::string(10'000, 's'), Duration::zero());
    return false;
  }));
  // A read counts from the end of its turn. So the other loop must end the turn of the last read
  // before the clock jumps, and begin another turn, a second later.
  tcp.faults.advance_clock(1s);
  std::promise<void> later;
  theirs.loop->post([&] { theirs.loop->post([&] { later.set_value(); }); });
  later.get_future().wait();
  tcp.faults.advance_clock(kPatience);
  std::vector<Upload> uploads(1);
  uploads[0].message = std::string(kUpload, 'u');
  uploads[0].client = tcp.connect();
  EXPECT_TRUE(tcp.until([&] { return all_done(uploads); }));
  EXPECT_EQ(uploads[0].answer, "ok");
  EXPECT_NE(silent.wait_for_end(), TestClient::End::open);
  theirs.loop->stop();
  other.join();
}

// A send that meets the spent budget has the silent ones go, too, before Overflow is asked.
TEST(BudgetHolders, F25_ASilentPeerGoesForADownload) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp(
        {.trigger = trigger, .max_buffered_per_loop = 1'500'000, .linger_timeout = 50ms});
    tcp.on.data = [](TcpConnection&, Buffer&) {};
    std::vector<TestClient> silent;
    silent.push_back(tcp.connect());
    fill(tcp, silent, 700'000);
    tcp.faults.advance_clock(kPatience);
    tcp.turns(1);
    TestClient reader = tcp.connect(0, 4096);
    const SharedBytes large = SharedBytes::copy(pattern(1'200'000));
    EXPECT_NE(tcp.connection()->send(large), SendResult::closed);
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::input_overflow, Errno(ENOMEM)}));
    EXPECT_TRUE(tcp.collect(reader, large.size()) == large.view());
    EXPECT_EQ(tcp.server->stats().over_budget, 0u);
  }
}

// All are in the middle of a message and would go on, so that they wait for each other. The largest
// go, once that is clear without a pause between them, and the others are served.
TEST(BudgetHolders, F27_HalvesOfMessagesThatWaitForEachOtherAreGivenUpWithoutAPauseForEach) {
  constexpr std::size_t kUpload = 280'000;  // one fits into the budget, even in a half empty buffer
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = 600'000});
    serve_uploads(tcp, kUpload);
    std::vector<Upload> uploads(8);
    for (Upload& upload : uploads) {
      upload.message = std::string(kUpload, 'u');
      upload.client = tcp.connect();
    }
    EXPECT_TRUE(tcp.until([&] {
      for (Upload& upload : uploads) upload.send(20'000);
      return tcp.server->stats().starved >= 2 && tcp.server->stats().buffered >= 600'000;
    }));
    run_for(tcp.loop, 300ms);
    expect_all_open(tcp);
    tcp.faults.advance_clock(kPatience);
    EXPECT_TRUE(tcp.until([&] { return all_done(uploads); }));
    EXPECT_GT(answered(uploads), 0u);
    EXPECT_LT(answered(uploads), uploads.size());
  }
}

// Work that frees memory is not slowed down when memory is short.
TEST(BudgetHolders, F27_WholeMessagesThatAreBufferedAreServedAtFullSpeed) {
  constexpr std::size_t kMessage = 100;
  constexpr int kEachTurn = 50;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = 100'000});
    int served = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      for (int i = 0; i < kEachTurn && in.size() >= kMessage; ++i) {
        in.consume(kMessage);
        ++served;
        if (!c.reading()) break;
      }
      if (in.size() >= kMessage) c.redeliver_input();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all(std::string(200'000, 'm')));
    for (int i = 0; i < 10'000 && tcp.server->stats().starved == 0; ++i) tcp.turns(1);
    ASSERT_GT(tcp.server->stats().starved, 0u);
    const int before = served;
    tcp.turns(10);
    EXPECT_GE(served - before, 9 * kEachTurn);
  }
}

// A loop that did not get the processor for long has not yet read what came meanwhile.
TEST(BudgetHolders, F25_AfterAPauseNobodyGoesWhoseBytesWait) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = 600'000});
    tcp.on.data = [](TcpConnection&, Buffer&) {};
    std::vector<TestClient> clients;
    for (int i = 0; i < 6; ++i) clients.push_back(tcp.connect());
    fill(tcp, clients, 550'000);
    const std::uint64_t in = tcp.server->stats().bytes_in;
    for (TestClient& client : clients) ASSERT_TRUE(client.send_all(std::string(70'000, 'x')));
    tcp.faults.advance_clock(kPatience);
    EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved > 0; }));
    run_for(tcp.loop, 300ms);
    EXPECT_GT(tcp.server->stats().bytes_in, in);
    expect_all_open(tcp);
  }
}

// The same for output: the peer has taken all that the kernel had.
TEST(BudgetHolders, F25_AfterAPauseNobodyGoesWhoHasTakenAll) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = 1'000'000});
    tcp.on.data = [](TcpConnection&, Buffer&) {};
    tcp.on.open = shrink_send_buffer;
    TestClient reader = tcp.connect(0, 4096);
    TcpConnection& download = *tcp.connection();
    download.send(SharedBytes::copy(std::string(800'000, 'd')));
    tcp.turns(2);
    ASSERT_GT(download.pending_output(), 700'000u);
    tcp.on.open = nullptr;
    TestClient upload = tcp.connect();
    ASSERT_TRUE(upload.send_all(std::string(400'000, 'u')));  // is seen before the other
    EXPECT_TRUE(wait_until([&] {
      reader.receive_for(Duration::zero());
      return internal::sys::unacknowledged(download.fd()) == 0u;
    }));
    tcp.faults.advance_clock(kPatience);
    EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved > 0; }));
    run_for(tcp.loop, 300ms);
    expect_all_open(tcp);
  }
}

// A server may do anything in the on_close of a connection that was ended for the budget.
TEST(BudgetHolders, F25_TheEndOfOneHolderMayEndOthersOrAll) {
  const std::vector<std::function<void(TcpHarness&)>> ways = {
      [](TcpHarness& tcp) {
        for (const ConnectionRef& ref : tcp.refs) ref.abort();
      },
      [](TcpHarness& tcp) { tcp.server->shutdown(0ms, [] {}); },
      [](TcpHarness& tcp) { tcp.server.reset(); },
  };
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    for (std::size_t way = 0; way < ways.size(); ++way) {
      SCOPED_TRACE(way);
      const AllowLog spent("the budget of buffered bytes is spent");
      TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = 600'000, .linger_timeout = 1ms});
      tcp.on.data = [](TcpConnection&, Buffer&) {};
      int ended = 0;
      tcp.on.close = [&](TcpConnection&, CloseReason) {
        if (ended++ == 0) ways[way](tcp);
      };
      std::vector<TestClient> clients;
      for (int i = 0; i < 6; ++i) clients.push_back(tcp.connect());
      const std::uint64_t before = buffered_bytes();
      fill(tcp, clients, 600'000);
      for (TestClient& client : clients) client.send_some(std::string(10'000, 'x'), 0ms);
      EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved >= 2; }));
      tcp.faults.advance_clock(kPatience);
      EXPECT_TRUE(tcp.until([&] { return !tcp.server || tcp.calls.close == 6; }));
      tcp.turns(2);
      EXPECT_EQ(buffered_bytes(), before);
    }
  }
}

// A peer that is not read because memory is short is not idle.
TEST(BudgetHolders, F27_IdleTimeoutRestsForThoseThatAreNotRead) {
  const ExpectLog spent("the budget of buffered bytes is spent");
  TcpHarness tcp({.idle_timeout = 2s, .max_buffered_per_loop = 300'000});
  tcp.on.data = [](TcpConnection&, Buffer&) {};
  std::vector<TestClient> clients;
  for (int i = 0; i < 2; ++i) clients.push_back(tcp.connect());
  fill(tcp, clients, 300'000);
  for (TestClient& client : clients) client.send_some(std::string(100'000, 'x'), Duration::zero());
  EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved >= 2; }));
  pass(tcp, 4s);
  expect_all_open(tcp);
}

// With the last connection goes the restraint.
TEST(BudgetHolders, ReadsAreAsLargeAsBeforeWhenAllAreGone) {
  const ExpectLog spent("the budget of buffered bytes is spent");
  TcpHarness tcp({.max_buffered_per_loop = 100'000});
  tcp.on.data = [](TcpConnection&, Buffer&) {};
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all(std::string(150'000, 'x')));
  EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved > 0; }));
  tcp.connection()->abort();
  EXPECT_TRUE(tcp.until_closed());
  std::size_t largest = 0;
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    largest = std::max(largest, in.size());
    in.clear();
  };
  TestClient next = tcp.connect();
  ASSERT_TRUE(next.send_all(std::string(100'000, 'x')));
  EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().bytes_in >= 100'000 && largest > 0; }));
  tcp.turns(2);
  EXPECT_GT(largest, BufferBudget::kOwnShare);
}

// --- accounts among each other -------------------------------------------------------------------

struct CountingOwner final : internal::BudgetOwner {
  int released = 0;
  int low = 0;
  int exhausted = 0;
  void budget_released() override { ++released; }
  void budget_short() override { ++low; }
  void budget_exhausted() override { ++exhausted; }
};

TEST(BudgetHolders, WhoWaitsIsCalledWhenAnotherThreadGivesALittleBack) {
  const ScopedBudget scoped(buffered_bytes() + 1'000'000);
  EventLoop loop;
  CountingOwner owner;
  BufferBudget other(0);
  {
    BufferBudget waiter(0, internal::core_of(loop).mailbox(), &owner);
    other.change(0, 1'000'000);
    EXPECT_FALSE(waiter.has_room(1));
    EXPECT_EQ(waiter.room(), 0u);
    on_other_thread([&] { other.change(1'000'000, 999'000); });
    EXPECT_FALSE(waiter.has_room(1));  // reported in batches while nobody waits
    waiter.wait_for_process(true);
    on_other_thread([&] { other.change(999'000, 998'000); });
    EXPECT_TRUE(run_until(loop, [&] { return owner.released > 0; }));
    EXPECT_EQ(waiter.room(), 2000u);
    on_other_thread([&] {
      for (std::uint64_t held = 998'000; held > 990'000; held -= 100) {
        other.change(held, held - 100);
      }
    });
    run_turn(loop);
    EXPECT_EQ(owner.released, 2);  // one call for many
    waiter.wait_for_process(false);
    on_other_thread([&] { other.change(990'000, 500'000); });
    run_turn(loop);
    EXPECT_EQ(owner.released, 2);
    waiter.wait_for_process(true);
    on_other_thread([&] { other.change(500'000, 400'000); });
  }
  run_turn(loop);  // the account went before its call
  EXPECT_EQ(owner.released, 2);
  other.change(400'000, 0);
}

TEST(BudgetHolders, OthersAreAskedIfTheyHoldAndTheOneThatHoldsMost) {
  EventLoop loop;
  CountingOwner owners[3];
  BufferBudget asks(0, internal::core_of(loop).mailbox(), &owners[0]);
  BufferBudget holds(0, internal::core_of(loop).mailbox(), &owners[1]);
  BufferBudget empty(0, internal::core_of(loop).mailbox(), &owners[2]);
  asks.change(0, 10'000);
  holds.change(0, 100'000);
  asks.ask_others();
  asks.ask_others();
  EXPECT_TRUE(asks.ask_largest());
  EXPECT_FALSE(holds.ask_largest());
  run_turn(loop);
  EXPECT_EQ(owners[0].low + owners[0].exhausted + owners[2].low + owners[2].exhausted, 0);
  EXPECT_EQ(owners[1].low, 1);
  EXPECT_EQ(owners[1].exhausted, 1);
  asks.change(10'000, 0);
  holds.change(100'000, 0);
}

}  // namespace
}  // namespace weir::test
