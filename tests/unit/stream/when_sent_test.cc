// when_sent(), and strings that are moved into send().
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "support/allocations.h"
#include "support/expect_log.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir {
namespace {

using namespace std::chrono_literals;
using test::kTriggers;
using test::name;
using test::pattern;
using test::TcpHarness;
using test::TestClient;
using Kind = CloseReason::Kind;

// The kernel takes little of what is sent to this client, so that the rest waits.
TestClient connect_slowly(TcpHarness& tcp) {
  TestClient client = tcp.connect(0, 4096);
  test::shrink_send_buffer(*tcp.connection());
  return client;
}

TEST(WhenSent, IsCalledWhenAllBeforeItHasLeftAndNotBefore) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    constexpr std::size_t kSize = 900'000;
    TcpHarness tcp({.trigger = trigger, .high_water = 4'000'000});
    TestClient client = connect_slowly(tcp);
    TcpConnection& c = *tcp.connection();
    std::string order;
    c.send(pattern(kSize));
    c.when_sent([&](TcpConnection&, bool sent) {
      EXPECT_TRUE(sent);
      EXPECT_GE(c.bytes_out(), kSize);
      EXPECT_LT(c.bytes_out(), 2 * kSize);
      order += "first ";
    });
    c.send(pattern(kSize, kSize));
    c.when_sent([&](TcpConnection&, bool sent) {
      EXPECT_TRUE(sent);
      EXPECT_EQ(c.bytes_out(), 2 * kSize);
      EXPECT_EQ(c.pending_output(), 0U);
      order += "second";
    });
    tcp.turns(3);
    ASSERT_GT(c.pending_output(), kSize);
    EXPECT_EQ(order, "");
    EXPECT_TRUE(tcp.collect(client, 2 * kSize) == pattern(2 * kSize));
    EXPECT_TRUE(tcp.until([&] { return order == "first second"; })) << order;
  }
}

TEST(WhenSent, WithNothingQueuedItIsCalledLaterInTheTurn) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  std::string order;
  tcp.connection()->when_sent([&](TcpConnection&, bool sent) { order += sent ? "sent" : "lost"; });
  EXPECT_EQ(order, "") << "not from inside the call";
  tcp.turns(1);
  EXPECT_EQ(order, "sent");
  tcp.turns(2);
  EXPECT_EQ(order, "sent") << "once";
}

TEST(WhenSent, FromAHandlerItCountsWhatTheHandlerSends) {
  TcpHarness tcp;
  int sent_calls = 0;
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    c.send(in.take());
    c.when_sent([&](TcpConnection&, bool sent) {
      ++sent_calls;
      EXPECT_TRUE(sent);
      EXPECT_EQ(c.bytes_out(), 4U * static_cast<unsigned>(sent_calls));
    });
    c.send("!");
  };
  // Both were gathered into one write, so the second send has left as well.
  TestClient client = tcp.connect();
  for (int i = 1; i <= 2; ++i) {
    ASSERT_TRUE(client.send_all("abc"));
    EXPECT_EQ(tcp.collect(client, 4), "abc!");
    EXPECT_TRUE(tcp.until([&] { return sent_calls == i; }));
  }
}

TEST(WhenSent, IsToldOfALossJustBeforeOnClose) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = connect_slowly(tcp);
    TcpConnection& c = *tcp.connection();
    std::string order;
    tcp.on.close = [&](TcpConnection&, CloseReason) { order += "close"; };
    c.when_sent([&](TcpConnection&, bool sent) { order += sent ? "empty " : "wrong "; });
    tcp.turns(1);
    c.send(pattern(900'000));
    c.when_sent([&](TcpConnection&, bool sent) { order += sent ? "sent " : "lost "; });
    tcp.turns(2);
    c.abort();
    EXPECT_EQ(order, "empty ");
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(order, "empty lost close");
  }
}

TEST(WhenSent, AfterALossNothingIsReportedAsSent) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = connect_slowly(tcp);
    TcpConnection& c = *tcp.connection();
    c.send(pattern(900'000));
    tcp.turns(2);
    std::string order;
    tcp.on.close = [&](TcpConnection& closed, CloseReason) {
      closed.when_sent([&](TcpConnection&, bool) { order += " never"; });
      order += "close";
    };
    c.abort();
    c.when_sent([&](TcpConnection&, bool sent) { order += sent ? "sent " : "lost "; });
    EXPECT_TRUE(tcp.until_closed());
    tcp.turns(1);
    EXPECT_EQ(order, "lost close");
  }
}

TEST(WhenSent, AnOrderlyCloseIsNoLoss) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  std::string order;
  tcp.on.close = [&](TcpConnection&, CloseReason) { order += "close"; };
  TcpConnection& c = *tcp.connection();
  c.send("bye");
  c.when_sent([&](TcpConnection&, bool sent) { order += sent ? "sent " : "lost "; });
  c.close();
  client.shutdown_write();
  EXPECT_EQ(tcp.collect_all(client), "bye");
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(order, "sent close");
}

TEST(WhenSent, MayAskAgainAndSendAndCloseFromInside) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& c = *tcp.connection();
  int round = 0;
  std::function<void(bool)> next = [&](bool sent) {
    EXPECT_TRUE(sent);
    if (++round == 5) return c.close();
    c.send(std::to_string(round));
    c.when_sent([&](TcpConnection&, bool again) { next(again); });
  };
  c.when_sent([&](TcpConnection&, bool sent) { next(sent); });
  EXPECT_EQ(tcp.collect_all(client), "1234");
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(round, 5);
}

TEST(WhenSent, AnExceptionEndsTheConnection) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  const test::ExpectLog logged("left when_sent");
  tcp.connection()->when_sent([](TcpConnection&, bool) { throw std::runtime_error("thrown"); });
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::handler_threw);
}

// A handler that streams is replaced while its notification waits.
TEST(WhenSent, AReplacedHandlerLivesUntilItsNotificationWasCalled) {
  struct Streaming final : ConnectionHandler {
    explicit Streaming(std::string& log) : order(log) {}
    ~Streaming() override { order += "~"; }
    void start(TcpConnection& c) {
      c.send(pattern(900'000));
      c.when_sent([this](TcpConnection&, bool sent) { order += sent ? "sent " : "lost "; });
    }
    std::string& order;
  };
  for (const bool aborts : {false, true}) {
    SCOPED_TRACE(aborts);
    std::string order;
    TcpHarness tcp;
    TestClient client = connect_slowly(tcp);
    TcpConnection& c = *tcp.connection();
    auto made = std::make_unique<Streaming>(order);
    Streaming& streaming = *made;
    c.set_handler(std::move(made));
    streaming.start(c);
    c.set_handler(std::make_unique<ConnectionHandler>());
    tcp.turns(3);
    EXPECT_EQ(order, "");
    if (aborts) {
      c.abort();
    } else {
      EXPECT_TRUE(tcp.collect(client, 900'000) == pattern(900'000));
    }
    EXPECT_TRUE(tcp.until([&] { return order == (aborts ? "lost ~" : "sent ~"); })) << order;
  }
}

TEST(WhenSent, IsNotCalledOnceTheServerWasDestroyedInIt) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  std::string order;
  tcp.connection()->when_sent([&](TcpConnection& c, bool) {
    order += "first ";
    c.when_sent([&](TcpConnection&, bool) { order += "third "; });
    tcp.server.reset();
  });
  tcp.connection()->when_sent([&](TcpConnection&, bool) { order += "second "; });
  tcp.turns(3);
  EXPECT_EQ(order, "first ");
}

TEST(WhenSent, IsDestroyedUncalledWithTheServer) {
  TcpHarness tcp;
  TestClient client = connect_slowly(tcp);
  auto token = std::make_shared<int>(0);
  tcp.connection()->send(pattern(900'000));
  tcp.connection()->when_sent([token](TcpConnection&, bool) { ++*token; });
  tcp.turns(2);
  EXPECT_EQ(token.use_count(), 2);
  tcp.server.reset();
  tcp.turns(2);
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_EQ(*token, 0);
}

TEST(WhenSent, MayBeAskedForByWhatItsFunctionHasCaptured) {
  struct Again {
    TcpConnection& connection;
    ~Again() {
      connection.when_sent([](TcpConnection&, bool) {});
    }
  };
  TcpHarness tcp;
  TestClient client = connect_slowly(tcp);
  TcpConnection& c = *tcp.connection();
  c.send(pattern(900'000));
  for (int i = 0; i < 4; ++i) {
    c.when_sent([again = std::make_unique<Again>(c)](TcpConnection&, bool) {});
  }
  tcp.turns(2);
  tcp.server.reset();
  tcp.turns(2);
  EXPECT_EQ(tcp.connection(), nullptr);
}

TEST(WhenSent, CallsThatWaitAreQueuedOutput) {
  TcpHarness tcp({.max_output = 1'000'000, .overflow = Overflow::drop});
  TestClient client = connect_slowly(tcp);
  TcpConnection& c = *tcp.connection();
  c.send(pattern(900'000));
  tcp.turns(2);
  const auto before = tcp.server->stats().buffered;
  int waiting = 0;
  for (; waiting < 100'000 && c.send("x") == SendResult::queued; ++waiting)
    c.when_sent([](TcpConnection&, bool) {});
  EXPECT_LT(waiting, 100'000);
  EXPECT_GT(tcp.server->stats().buffered, before + 16U * static_cast<unsigned>(waiting));
  c.abort();
  EXPECT_TRUE(tcp.until_closed());
  tcp.turns(1);
  EXPECT_EQ(tcp.server->stats().buffered, 0U);
}

// The notifications that wait reach the marks before the bytes do. The peer reads nothing, and
// later everything.
TEST(WhenSent, F13_ManyThatWaitForASlowPeerDoNotSpin) {
  for (const Overflow overflow : {Overflow::close, Overflow::drop, Overflow::pause}) {
    for (const Trigger trigger : kTriggers) {
      SCOPED_TRACE(name(trigger));
      TcpHarness tcp({.trigger = trigger, .overflow = overflow});
      std::size_t served = 0;
      std::size_t notified = 0;
      tcp.on.data = [&](TcpConnection& c, Buffer& in) {
        for (; in.size() >= 10; in.consume(10)) {
          ++served;
          c.send("0123456789");
          c.when_sent([&](TcpConnection&, bool) { ++notified; });
        }
      };
      TestClient client = connect_slowly(tcp);
      const std::string requests(500, 'q');
      std::size_t sent = 0;
      for (int i = 0; i < 2000; ++i) {
        sent += client.send_some(requests, 0ms);
        tcp.turns(1);
      }
      ASSERT_EQ(tcp.calls.close, 0);
      EXPECT_TRUE(test::rests(tcp.loop, tcp.faults));
      EXPECT_LT(served * 10, sent) << "the rest is left in the socket";
      std::string got;
      EXPECT_TRUE(tcp.until([&] {
        got += client.receive_exactly(1'000'000, 0s);
        return got.size() >= sent / 10 * 10 && notified == served;
      }));
    }
  }
}

// --- strings -------------------------------------------------------------------------------------

TEST(SendMoved, LongStringsAreNotCopiedAndAllArriveInOrder) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = 4'000'000});
    TestClient client = connect_slowly(tcp);
    TcpConnection& c = *tcp.connection();
    const std::string named = "named ";
    c.send(named);  // copied
    c.send("literal ");
    c.send(std::string("short "));
    std::string large = pattern(1'000'000);
    {
      const test::AllocationCount allocations;
      const test::LiveHeap before = test::live_heap();
      c.send(std::move(large));
      EXPECT_LT(test::live_heap().bytes - before.bytes, 100'000) << "its memory was taken over";
    }
    c.send("end");
    const std::string expected = "named literal short " + pattern(1'000'000) + "end";
    EXPECT_TRUE(tcp.collect(client, expected.size()) == expected);
  }
}

TEST(SendMoved, IsDroppedOverMaxOutput) {
  TcpHarness tcp({.max_output = 100'000, .overflow = Overflow::drop});
  TestClient client = connect_slowly(tcp);
  TcpConnection& c = *tcp.connection();
  c.send(pattern(2'000'000));  // finds nothing waiting, so it is accepted
  std::string refused(50'000, 'r');
  EXPECT_EQ(c.send(std::move(refused)), SendResult::dropped);
  c.abort();
  EXPECT_TRUE(tcp.until_closed());
}

TEST(SendMoved, AfterTheEndItIsClosed) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  tcp.connection()->close();
  EXPECT_EQ(tcp.connection()->send(std::string(100'000, 'x')), SendResult::closed);
  EXPECT_EQ(tcp.connection()->send(std::string("x")), SendResult::closed);
}

}  // namespace
}  // namespace weir
