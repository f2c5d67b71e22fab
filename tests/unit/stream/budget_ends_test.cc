// Connections that end while the budget of buffered bytes is spent: nothing that is looked at for
// the budget's sake may be one that has ended already.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/expect_log.h"
#include "support/tcp_harness.h"
#include "weir/net/buffer/shared_bytes.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

constexpr std::uint64_t kBudget = 300'000;
constexpr std::size_t kHalfMessage = 200'000;

// Longer than BudgetHolders waits between two searches, and than it waits before a holder goes.
constexpr Duration kSearchPeriod = 300ms;
constexpr Duration kPatience = 6s;

// A server whose clients have all sent halves of messages, so that the budget is spent and more
// than one of them is not read.
struct Spent {
  explicit Spent(Trigger trigger)
      : tcp({.trigger = trigger, .max_buffered_per_loop = kBudget, .linger_timeout = 50ms}) {
    tcp.on.data = [](TcpConnection&, Buffer&) {};  // all is left
    for (int i = 0; i < 3; ++i) {
      clients.push_back(tcp.connect());
      const TcpServer::Stats before = tcp.server->stats();
      EXPECT_TRUE(clients.back().send_all(std::string(kHalfMessage, 'x')));
      EXPECT_TRUE(tcp.until([&] {
        const TcpServer::Stats now = tcp.server->stats();
        return now.bytes_in == before.bytes_in + kHalfMessage || now.starved > before.starved;
      }));
    }
    EXPECT_TRUE(tcp.until([&] { return tcp.server->stats().starved >= 2; }));
  }

  const AllowLog spent{"the budget of buffered bytes is spent"};
  TcpHarness tcp;
  std::vector<TestClient> clients;
};

// The send finds the reset before epoll tells of it, and takes the error with it.
TEST(BudgetEnds, PeersThatResetWhileTheyAreStarvedAndSentTo) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Spent spent(trigger);
    TcpHarness& tcp = spent.tcp;
    for (TestClient& client : spent.clients) client.reset();
    for (const ConnectionRef& ref : tcp.refs) {
      if (TcpConnection* connection = ref.get()) connection->send("a line of news");
    }
    for (int i = 0; i < 4 && tcp.calls.close < 3; ++i) {  // at most one goes for each patience
      tcp.turns(3);
      tcp.faults.advance_clock(kPatience);
      tcp.turns(3);
    }
    EXPECT_TRUE(tcp.until_closed(3));
    EXPECT_EQ(tcp.server->stats().buffered, 0u);
  }
}

// What is not read is still watched for the end of its peer.
TEST(BudgetEnds, F27_TwentyDeadPeersAreGoneAtOnce) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const AllowLog spent("the budget of buffered bytes is spent");
    TcpHarness tcp({.trigger = trigger, .max_buffered_per_loop = 1'000'000});
    tcp.on.data = [](TcpConnection&, Buffer&) {};
    std::vector<TestClient> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(tcp.connect());
    const std::string half(kHalfMessage, 'x');
    std::vector<std::size_t> sent(clients.size());
    EXPECT_TRUE(tcp.until([&] {
      for (std::size_t i = 0; i < clients.size(); ++i) {
        const std::string_view rest = std::string_view(half).substr(sent[i]);
        sent[i] += clients[i].send_some(rest, Duration::zero());
      }
      return tcp.server->stats().starved >= 5;
    }));
    for (std::size_t i = 1; i < clients.size(); ++i) clients[i].reset();
    for (const std::size_t i : {3u, 7u, 19u}) {  // some are found by a send
      if (TcpConnection* connection = tcp.refs[i].get()) connection->send("news");
    }
    tcp.turns(2);
    EXPECT_EQ(tcp.server->connection_count(), 1u);
    EXPECT_EQ(tcp.calls.close, 19);
    EXPECT_EQ(tcp.reason->kind, Kind::reset);
  }
}

// An ordinary hub passes on to all what comes from one; its peers alone bring this about.
TEST(BudgetEnds, PeersOfAHubThatResetWhileTheHubSendsToThem) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Spent spent(trigger);
    TcpHarness& tcp = spent.tcp;
    TestClient live = tcp.connect();
    tcp.on.data = [&](TcpConnection& from, Buffer& in) {
      if (in.size() >= kHalfMessage / 4) return;  // the rest of the message is missing
      const std::string frame(in.view());
      in.clear();
      for (const ConnectionRef& ref : tcp.refs) {
        TcpConnection* to = ref.get();
        if (to != nullptr && to != &from) to->send(frame);
      }
    };
    for (TestClient& client : spent.clients) client.reset();
    for (int i = 0; i < 4 && tcp.calls.close < 3; ++i) {
      ASSERT_TRUE(live.send_all("a frame"));
      tcp.turns(3);
      tcp.faults.advance_clock(kPatience);
      tcp.turns(3);
    }
    EXPECT_TRUE(tcp.until_closed(3));
    EXPECT_EQ(tcp.server->connection_count(), 1u);
    EXPECT_EQ(tcp.server->stats().buffered, 0u);
  }
}

// Ended by the program in the very turn in which the budget is looked at.
TEST(BudgetEnds, StarvedConnectionsThatAreEndedInTheTurnThatLooksAtTheBudget) {
  const std::vector<std::function<void(TcpHarness&)>> ways = {
      [](TcpHarness& tcp) {
        for (int i = 0; i < 3; ++i) tcp.refs[static_cast<std::size_t>(i)].get()->abort();
      },
      [](TcpHarness& tcp) {  // an overflow
        const SharedBytes large = SharedBytes::copy(std::string(5'000'000, 'l'));
        for (std::size_t i = 0; i < 3; ++i) tcp.refs[i].get()->send(large);
      },
      [](TcpHarness& tcp) { tcp.server->shutdown(0ms, [] {}); },
      [](TcpHarness& tcp) { tcp.server.reset(); },
  };
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    for (std::size_t way = 0; way < ways.size(); ++way) {
      SCOPED_TRACE(way);
      Spent spent(trigger);
      TcpHarness& tcp = spent.tcp;
      TestClient live = tcp.connect();
      tcp.on.data = [&](TcpConnection&, Buffer& in) {
        if (in.view() != "now") return;
        in.clear();
        ways[way](tcp);
      };
      ASSERT_TRUE(live.send_all("now"));
      tcp.faults.advance_clock(kSearchPeriod);
      tcp.turns(5);
      EXPECT_TRUE(tcp.until([&] { return !tcp.server || tcp.calls.close >= 3; }));
    }
  }
}

}  // namespace
}  // namespace weir::test
