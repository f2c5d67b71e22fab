// UdpSessions: one session a peer, bounded, ended by silence.
#include "weir/net/udp/udp_sessions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/allocations.h"
#include "support/expect_log.h"
#include "support/udp_harness.h"
#include "weir/net/udp/udp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Handler final : UdpSessionHandler {
  bool on_open(UdpSession& session) override {
    events.push_back("open");
    return !open || open(session);
  }
  void on_datagram(UdpSession& session, const Datagram& in) override {
    events.emplace_back(in.text());
    if (datagram) datagram(session, in);
  }
  void on_close(UdpSession& session, bool timed_out) override {
    events.push_back(timed_out ? "timed out" : "closed");
    if (close) close(session);
  }
  std::vector<std::string> events;
  std::function<bool(UdpSession&)> open;
  std::function<void(UdpSession&, const Datagram&)> datagram;
  std::function<void(UdpSession&)> close;
};

class Sessions {
 public:
  explicit Sessions(UdpSessions::Options options = {}, UdpSocket::Options of_socket = {},
                    std::string_view where = "127.0.0.1:0") {
    sessions = std::make_shared<UdpSessions>(world.loop, handler, options);
    socket.emplace(world.loop, of_socket);
    socket->use_handler(sessions);
    address = socket->bind(where).value();
  }
  ~Sessions() {
    sessions.reset();
    socket.reset();
    run_turn(world.loop);
  }
  bool until_events(std::size_t count) {
    return world.until([&] { return handler->events.size() >= count; });
  }

  UdpHarness world{{}, ""};
  std::shared_ptr<Handler> handler = std::make_shared<Handler>();
  std::shared_ptr<UdpSessions> sessions;
  std::optional<UdpSocket> socket;
  SocketAddress address;
};

using Events = std::vector<std::string>;

TEST(UdpSessions, APeerIsOpenedOnceAndAnswered) {
  Sessions all;
  all.handler->datagram = [](UdpSession& session, const Datagram& in) {
    session.send(std::to_string(session.received()) + std::string(in.text()));
  };
  const UdpPeer one;
  const UdpPeer two;
  for (const char* text : {"a", "b"}) ASSERT_TRUE(one.send(all.address, text));
  ASSERT_TRUE(two.send(all.address, "c"));
  ASSERT_TRUE(one.send(all.address, "d"));
  ASSERT_TRUE(all.until_events(6));
  EXPECT_EQ(all.handler->events, (Events{"open", "a", "b", "open", "c", "d"}));
  EXPECT_EQ(all.sessions->size(), 2u);
  for (const char* text : {"1a", "2b", "3d"}) EXPECT_EQ(one.receive(), text);
  EXPECT_EQ(two.receive(), "1c");
}

TEST(UdpSessions, SilenceEndsItAndALastWordGetsOut) {
  Sessions all({.idle_timeout = 60ms});
  all.handler->close = [](UdpSession& session) { session.send("goodbye"); };
  const UdpPeer talking;
  const UdpPeer silent;
  const TimePoint begin = Clock::now();
  ASSERT_TRUE(silent.send(all.address, "x"));
  int told = 0;
  const TimerId timer = all.world.loop.run_every(10ms, [&] {
    static_cast<void>(talking.send(all.address, "y"));
    ++told;
  });
  ASSERT_TRUE(all.world.until(
      [&] { return std::ranges::count(all.handler->events, "timed out") == 1 && told > 10; }));
  EXPECT_GE(Clock::now() - begin, 60ms);
  EXPECT_EQ(all.sessions->size(), 1u);
  EXPECT_EQ(std::ranges::count(all.handler->events, "open"), 2);
  EXPECT_EQ(silent.receive(), "goodbye");
  all.world.loop.cancel(timer);
}

// More datagrams than a turn receives have waited while the process was stopped.
TEST(UdpSessions, F15_AStoppedProcessEndsNoSessionThatHasSpoken) {
  UdpHarness world{{}, ""};
  const auto handler = std::make_shared<Handler>();
  const auto sessions =
      std::make_shared<UdpSessions>(world.loop, handler, UdpSessions::Options{.idle_timeout = 9s});
  world.socket.emplace(world.loop, UdpSocket::Options{.receive_buffer = 200'000});  // doubled
  world.socket->use_handler(sessions);
  const SocketAddress address = world.socket->bind("127.0.0.1:0").value();
  constexpr std::size_t kPeers = UdpSocket::kMaxBatch * UdpSocket::kMaxReceivesPerTurn + 100;
  std::vector<UdpPeer> peers(kPeers);
  for (const UdpPeer& peer : peers) {
    ASSERT_TRUE(peer.send(address, "x"));
    run_turn(world.loop);
  }
  ASSERT_EQ(sessions->size(), kPeers);
  for (const UdpPeer& peer : peers) ASSERT_TRUE(peer.send(address, "y"));
  world.faults.advance_clock(10s);
  world.faults.on(Call::epoll_pwait2).nth(1).fail(EINTR);
  run_turns(world.loop, 8);
  EXPECT_EQ(std::ranges::count(handler->events, "y"), std::ptrdiff_t{kPeers});
  EXPECT_EQ(std::ranges::count(handler->events, "timed out"), 0);
  world.faults.advance_clock(10s);
  EXPECT_TRUE(world.until([&] { return sessions->size() == 0; }));
}

// One that takes long makes nobody behind it in the batch silent.
TEST(UdpSessions, WhoSpokeInASlowTurnIsNotSilent) {
  Sessions all({.idle_timeout = 60s});
  const UdpPeer first;
  const UdpPeer second;
  int datagrams = 0;
  all.handler->datagram = [&](UdpSession&, const Datagram&) {
    if (++datagrams == 1) all.world.faults.advance_clock(100s);
  };
  ASSERT_TRUE(first.send(all.address, "a") && second.send(all.address, "b"));
  ASSERT_TRUE(all.until_events(4));
  const auto pass = [&](Duration time) {
    all.world.faults.advance_clock(time);
    run_turns(all.world.loop, 3);
  };
  pass(59s);
  EXPECT_EQ(all.sessions->size(), 2u);
  pass(6s);
  EXPECT_EQ(all.sessions->size(), 0u);
}

TEST(UdpSessions, F25_TheirNumberIsBoundedAndStrangersCostNothing) {
  const ExpectLog refusing("3 sessions are open, the most allowed");
  Sessions all({.max_sessions = 3});
  std::vector<UdpPeer> peers(5);
  for (const UdpPeer& peer : peers) ASSERT_TRUE(peer.send(all.address, "x"));
  ASSERT_TRUE(all.until_events(6));
  run_turn(all.world.loop);
  EXPECT_EQ(all.sessions->size(), 3u);
  EXPECT_EQ(all.sessions->refused(), 2u);
  EXPECT_EQ(all.handler->events.size(), 6u);
}

// A session without memory costs the others of the same batch nothing.
TEST(UdpSessions, F63_NoMemoryForOneCostsTheOthersNoDatagram) {
  struct Counting final : UdpSessionHandler {
    void on_datagram(UdpSession&, const Datagram&) override { ++datagrams; }
    std::uint64_t datagrams = 0;
  };
  if (!AllocationCount::available()) GTEST_SKIP() << "the sanitizer's operator new is in use";
  const ExpectLog no_memory("memory");
  EventLoop loop;
  std::array<SocketAddress, 3> peers;
  std::array<Datagram, 3> batch;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    peers[i] = SocketAddress::parse("127.0.0.1:" + std::to_string(1000 + i)).value();
    batch[i].peer = peers[i];
  }
  bool happened = true;
  for (std::uint64_t n = 1; happened; ++n) {
    SCOPED_TRACE("allocation " + std::to_string(n));
    const auto handler = std::make_shared<Counting>();
    UdpSocket socket(loop);
    UdpSessions sessions(loop, handler);
    {
      const FailAllocation fail(n);
      sessions.on_datagrams(socket, batch);
      happened = fail.happened();
    }
    EXPECT_GE(handler->datagrams, happened ? 2u : 3u);
    EXPECT_EQ(handler->datagrams + sessions.refused(), 3u);
    if (HasFailure()) return;
  }
}

TEST(UdpSessions, WhoIsNotWantedIsNotKept) {
  Sessions all;
  all.handler->open = [](UdpSession&) { return false; };
  const UdpPeer peer;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(peer.send(all.address, "x"));
  ASSERT_TRUE(all.until_events(3));
  EXPECT_EQ(all.handler->events, (Events{"open", "open", "open"}));
  EXPECT_EQ(all.sessions->size(), 0u);
}

TEST(UdpSessions, CloseEndsItAndTheNextDatagramBeginsAnother) {
  Sessions all;
  auto kept = std::make_shared<int>(7);
  std::weak_ptr<int> watched = kept;
  all.handler->datagram = [&](UdpSession& session, const Datagram& in) {
    if (in.text() != "bye") return;
    session.set_context<std::shared_ptr<int>>(std::move(kept));
    session.close();
    session.close();
  };
  all.handler->close = [&](UdpSession& session) {
    if (session.context<int>() == nullptr && session.context<std::shared_ptr<int>>() != nullptr) {
      all.handler->events.push_back(std::to_string(**session.context<std::shared_ptr<int>>()));
    }
  };
  const UdpPeer peer;
  for (const char* text : {"a", "bye", "b"}) ASSERT_TRUE(peer.send(all.address, text));
  ASSERT_TRUE(all.until_events(6));
  EXPECT_EQ(all.handler->events, (Events{"open", "a", "bye", "open", "b", "closed", "7"}));
  EXPECT_TRUE(watched.expired());
}

TEST(UdpSessions, AContextIsOfTheTypeThatWasSet) {
  Sessions all;
  bool seen = false;
  all.handler->datagram = [&](UdpSession& session, const Datagram&) {
    EXPECT_EQ(session.context<int>(), nullptr);
    session.set_context<std::string>("text");
    EXPECT_EQ(session.context<int>(), nullptr);
    EXPECT_EQ(session.context<const std::string>(), nullptr);
    ASSERT_NE(session.context<std::string>(), nullptr);
    EXPECT_EQ(*session.context<std::string>(), "text");
    EXPECT_EQ(session.set_context<int>(7), 7);
    EXPECT_EQ(session.context<std::string>(), nullptr);
    ASSERT_NE(session.context<int>(), nullptr);
    seen = true;
  };
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(all.address, "x"));
  ASSERT_TRUE(all.until_events(2));
  EXPECT_TRUE(seen);
}

TEST(UdpSessions, F03_TheSocketGoesInEachEvent) {
  for (const char* when : {"open", "datagram", "close"}) {
    Sessions all;
    const auto go = [&](const char* now, UdpSession& session) {
      if (std::string_view(now) != when) return;
      all.socket.reset();
      EXPECT_EQ(session.send("late"), DatagramResult::closed);
    };
    all.handler->open = [&](UdpSession& session) {
      go("open", session);
      return true;
    };
    all.handler->datagram = [&](UdpSession& session, const Datagram&) {
      go("datagram", session);
      if (all.socket) session.close();
    };
    all.handler->close = [&](UdpSession& session) { go("close", session); };
    const UdpPeer one;
    const UdpPeer two;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(one.send(all.address, "x"));
      ASSERT_TRUE(two.send(all.address, "y"));
    }
    run_for(all.world.loop, 20ms);
    EXPECT_FALSE(all.socket);
    EXPECT_EQ(all.sessions->size(), 0u);
  }
}

// On a machine with several addresses the kernel would answer from another than was asked.
TEST(UdpSessions, F71_AnswersComeFromTheAddressThatWasAsked) {
  for (const std::string_view where : {"0.0.0.0:0", "[::]:0"}) {
    Sessions all({}, {.packet_info = true}, where);
    std::vector<UdpSession*> open;
    all.handler->open = [&](UdpSession& session) {
      open.push_back(&session);
      return true;
    };
    all.handler->datagram = [](UdpSession& session, const Datagram& in) {
      EXPECT_NE(session.socket(), nullptr);
      session.send(std::to_string(session.received()) + std::string(in.text()));
    };
    const auto at = [&](std::string_view ip) {
      return SocketAddress::from_ip(ip, all.address.port()).value();
    };
    const UdpPeer peer;
    ASSERT_TRUE(peer.send(at("127.0.0.5"), "a"));
    ASSERT_TRUE(peer.send(at("127.0.0.6"), "b"));
    ASSERT_TRUE(peer.send(at("127.0.0.5"), "c"));
    ASSERT_TRUE(all.until_events(5));
    EXPECT_EQ(all.handler->events, (Events{"open", "a", "open", "b", "c"}));
    SocketAddress from;
    EXPECT_EQ(peer.receive(5000, &from), "1a");
    EXPECT_EQ(from, at("127.0.0.5"));
    EXPECT_EQ(peer.receive(5000, &from), "1b") << "two conversations, not one";
    EXPECT_EQ(from, at("127.0.0.6"));
    EXPECT_EQ(peer.receive(5000, &from), "2c");
    EXPECT_EQ(from, at("127.0.0.5"));
    // Also later, when what was received is gone.
    ASSERT_EQ(open.size(), 2u);
    EXPECT_EQ(open[1]->send("later"), DatagramResult::queued);
    EXPECT_EQ(open[0]->send("and later"), DatagramResult::queued);
    run_turn(all.world.loop);
    EXPECT_EQ(peer.receive(5000, &from), "later");
    EXPECT_EQ(from, at("127.0.0.6"));
    EXPECT_EQ(peer.receive(5000, &from), "and later");
    EXPECT_EQ(from, at("127.0.0.5"));
  }
}

// In another session's handler, where what is sent is gathered.
TEST(UdpSessions, F71_OneSessionsHandlerAnswersForAnother) {
  Sessions all({}, {.packet_info = true}, "0.0.0.0:0");
  UdpSession* first = nullptr;
  all.handler->datagram = [&](UdpSession& session, const Datagram& in) {
    if (first == nullptr) {
      first = &session;
    } else {
      first->send(in.payload);
      session.send(in.payload);
    }
  };
  const auto at = [&](std::string_view ip) {
    return SocketAddress::from_ip(ip, all.address.port()).value();
  };
  const UdpPeer one;
  const UdpPeer two;
  ASSERT_TRUE(one.send(at("127.0.0.5"), "a"));
  ASSERT_TRUE(all.until_events(2));
  ASSERT_TRUE(two.send(at("127.0.0.6"), "b"));
  ASSERT_TRUE(all.until_events(4));
  SocketAddress from;
  EXPECT_EQ(one.receive(5000, &from), "b");
  EXPECT_EQ(from, at("127.0.0.5"));
  EXPECT_EQ(two.receive(5000, &from), "b");
  EXPECT_EQ(from, at("127.0.0.6"));
}

TEST(UdpSessions, WithoutPacketInfoAPeerIsOneSession) {
  Sessions all({}, {}, "0.0.0.0:0");
  const UdpPeer peer;
  for (const std::string_view ip : {"127.0.0.5", "127.0.0.6"}) {
    ASSERT_TRUE(peer.send(SocketAddress::from_ip(ip, all.address.port()).value(), "x"));
  }
  ASSERT_TRUE(all.until_events(3));
  EXPECT_EQ(all.sessions->size(), 1u);
}

TEST(UdpSessions, F06_AServerDestroyedBehindACloseCallsNothingMore) {
  for (const bool inside : {false, true}) {
    UdpHarness world{{}, ""};
    const auto handler = std::make_shared<Handler>();
    std::optional<UdpServer> server(std::in_place, world.loop);
    server->handlers_per_loop(
        [&](EventLoop& loop) { return std::make_shared<UdpSessions>(loop, handler); });
    const SocketAddress address = server->listen("127.0.0.1:0").value();
    const std::array<UdpPeer, 3> peers;
    std::vector<UdpSession*> open;
    handler->open = [&](UdpSession& session) {
      open.push_back(&session);
      return true;
    };
    for (const UdpPeer& peer : peers) ASSERT_TRUE(peer.send(address, "x"));
    ASSERT_TRUE(world.until([&] { return handler->events.size() == 6; }));
    handler->close = [&](UdpSession&) { server.reset(); };
    for (UdpSession* session : open) session->close();
    if (!inside) server.reset();
    run_turns(world.loop, 3);
    EXPECT_EQ(handler->events.size(), inside ? 7u : 6u) << "the call that destroys it is the last";
    server.reset();
  }
}

TEST(UdpSessions, ManyThatAreClosedAtOnceAreEachToldOnce) {
  Sessions all({}, {.receive_buffer = 4 << 20});
  constexpr int kPeers = 300;
  std::vector<UdpSession*> open;
  all.handler->open = [&](UdpSession& session) {
    open.push_back(&session);
    return true;
  };
  std::set<std::uint16_t> told;
  all.handler->close = [&](UdpSession& session) { told.insert(session.peer().port()); };
  std::vector<UdpPeer> peers(kPeers);
  for (int i = 0; i < kPeers; ++i) {
    ASSERT_TRUE(peers[static_cast<std::size_t>(i)].send(all.address, "x"));
    if (i % 50 == 49) {
      ASSERT_TRUE(all.until_events(2 * (static_cast<std::size_t>(i) + 1)));
    }
  }
  for (std::size_t step : {3u, 2u, 1u}) {
    for (std::size_t i = 0; i < open.size(); i += step) open[i]->close();
  }
  EXPECT_EQ(all.sessions->size(), 0u);
  ASSERT_TRUE(all.world.until([&] { return told.size() == kPeers; }));
  run_turn(all.world.loop);
  EXPECT_EQ(all.handler->events.size(), 3u * kPeers);
}

// A process that was stopped finds the deadline past and the peer's datagrams in the kernel, more
// of them than one turn receives.
TEST(UdpSessions, F32_WhoseDatagramsWaitInTheKernelIsNotSilent) {
  Sessions all({.idle_timeout = 10s}, {.receive_buffer = 1 << 20});
  const UdpPeer peer;
  const UdpPeer crowd;
  ASSERT_TRUE(peer.send(all.address, "x"));
  ASSERT_TRUE(crowd.send(all.address, "y"));
  ASSERT_TRUE(all.until_events(4));
  constexpr std::size_t kTurn = UdpSocket::kMaxBatch * UdpSocket::kMaxReceivesPerTurn;
  for (std::size_t i = 0; i < kTurn + 10; ++i) ASSERT_TRUE(crowd.send(all.address, "y"));
  ASSERT_TRUE(peer.send(all.address, "still here"));
  all.world.faults.advance_clock(15s);
  ASSERT_TRUE(all.until_events(4 + kTurn + 11)) << all.socket->kernel_drops();
  EXPECT_EQ(all.handler->events.back(), "still here");
  EXPECT_EQ(std::ranges::count(all.handler->events, "timed out"), 0);
  all.world.faults.advance_clock(11s);
  ASSERT_TRUE(all.world.until([&] { return all.sessions->size() == 0; })) << "nothing waits now";
}

TEST(UdpSessions, F32_WhileReceivingIsPausedNobodyIsSilent) {
  Sessions all({.idle_timeout = 10s});
  const UdpPeer peer;
  ASSERT_TRUE(peer.send(all.address, "x"));
  ASSERT_TRUE(all.until_events(2));
  all.socket->pause_receiving();
  ASSERT_TRUE(peer.send(all.address, "still here"));
  for (int i = 0; i < 5; ++i) {
    all.world.faults.advance_clock(15s);
    run_turn(all.world.loop);
  }
  all.socket->resume_receiving();
  ASSERT_TRUE(all.until_events(3));
  EXPECT_EQ(all.handler->events, (Events{"open", "x", "still here"}));
}

TEST(UdpSessions, ServeWithThreads) {
  EventLoop loop;
  UdpServer server(loop, {.threads = 2});
  server.handlers_per_loop([](EventLoop& on) {
    auto handler = std::make_shared<Handler>();
    handler->datagram = [](UdpSession& session, const Datagram& in) { session.send(in.payload); };
    return std::make_shared<UdpSessions>(on, std::move(handler));
  });
  const SocketAddress address = server.listen("127.0.0.1:0").value();
  std::vector<UdpPeer> peers(10);
  for (const UdpPeer& peer : peers) ASSERT_TRUE(peer.send(address, "hello"));
  for (const UdpPeer& peer : peers) EXPECT_EQ(peer.receive(), "hello");
}

}  // namespace
}  // namespace weir::test
