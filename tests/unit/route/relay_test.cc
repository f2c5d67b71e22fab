// relay(): what one side sends, the other gets, and what becomes of the ends.
#include "weir/net/route/relay.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using Path = RelayOptions::Path;
using namespace std::chrono_literals;

constexpr Path kPaths[] = {Path::copy, Path::splice, Path::automatic};
const char* path_name(Path path) {
  return path == Path::copy ? "copy" : path == Path::splice ? "splice" : "automatic";
}

// All that comes until the stream ends. The end is not read twice, which would hide a reset.
std::string read_to_end(TcpHarness& tcp, TestClient& client) {
  std::string got;
  EXPECT_TRUE(tcp.until([&] {
    if (client.ended() == TestClient::End::open) {
      got += client.receive_exactly(1'000'000, Duration::zero());
    }
    return client.ended() != TestClient::End::open;
  }));
  return got;
}

// How much the kernel holds on the way to b. Less than two of loopback's segments would make it
// wait for timers.
enum class Buffers { kernels, small };
constexpr int kSmall = 64 * 1024;

// Two clients of one server, their connections relayed to each other.
class Joined {
 public:
  explicit Joined(TcpServer::Options options, Path path, Buffers buffers = Buffers::kernels)
      : tcp(options), a(tcp.connect()) {
    left = tcp.ref();
    b = buffers == Buffers::small ? tcp.connect(0, kSmall) : tcp.connect();
    right = tcp.ref();
    if (buffers == Buffers::small) set_send_buffer(*right.get(), kSmall);
    handle = relay(*left.get(), *right.get(), {.path = path}, [this](const RelayResult& r) {
      ++done;
      result = r;
    });
  }

  // Sends `out` from one client and collects as much at the other, in small turns.
  std::string pass(TestClient& from, TestClient& to, const std::string& out) {
    std::string got;
    std::size_t sent = 0;
    const bool all = tcp.until([&] {
      if (sent < out.size()) {
        sent += from.send_some(std::string_view(out).substr(sent), Duration::zero());
      }
      got += to.receive_exactly(out.size() - got.size(), Duration::zero());
      return got.size() == out.size();
    });
    EXPECT_TRUE(all) << got.size() << " of " << out.size();
    return got;
  }
  // Sends pattern bytes from a until nothing moves any more. Returns how many went out.
  std::size_t fill() {
    std::size_t sent = 0;
    for (int idle = 0; idle < 10; run_for(tcp.loop, 2ms)) {
      const std::size_t n = a.send_some(pattern(64 * 1024, sent), Duration::zero());
      sent += n;
      idle = n > 0 ? 0 : idle + 1;
    }
    return sent;
  }
  [[nodiscard]] bool until_done() {
    return tcp.until([this] { return done > 0 && tcp.server->connection_count() == 0; });
  }

  TcpHarness tcp;
  TestClient a;
  TestClient b;
  ConnectionRef left;
  ConnectionRef right;
  RelayHandle handle;
  int done = 0;
  RelayResult result;
};

template <typename Test>
void in_every_way(Test&& test) {
  for (const Trigger trigger : kTriggers) {
    for (const Path path : kPaths) {
      SCOPED_TRACE(std::string(name(trigger)) + ", " + path_name(path));
      test(TcpServer::Options{.trigger = trigger}, path);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Relay, F18_RandomPiecesArriveWholeBothWays) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 64 * 1024;
    options.max_output = 64 * 1024;
    Joined joined(options, path, Buffers::small);
    std::mt19937 random(7);
    const std::string forth = pattern(3'000'000);
    const std::string back = pattern(2'000'000, 12345);
    std::string got_forth;
    std::string got_back;
    std::size_t sent_forth = 0;
    std::size_t sent_back = 0;
    std::uniform_int_distribution<std::size_t> piece(1, 50'000);
    const auto send = [&](TestClient& from, const std::string& all, std::size_t& sent) {
      const auto some = std::string_view(all).substr(sent, piece(random));
      if (!some.empty()) sent += from.send_some(some, Duration::zero());
    };
    const auto receive = [&](TestClient& at, std::string& got, std::size_t size) {
      const std::size_t some = std::min(piece(random), size - got.size());
      if (some > 0) got += at.receive_exactly(some, Duration::zero());
    };
    while (got_forth.size() < forth.size() || got_back.size() < back.size()) {
      const std::size_t before = got_forth.size() + got_back.size();
      ASSERT_TRUE(joined.tcp.until([&] {
        send(joined.a, forth, sent_forth);
        send(joined.b, back, sent_back);
        receive(joined.b, got_forth, forth.size());
        receive(joined.a, got_back, back.size());
        return got_forth.size() + got_back.size() > before;
      })) << got_forth.size()
          << " and " << got_back.size();
    }
    EXPECT_EQ(got_forth, forth);
    EXPECT_EQ(got_back, back);
    if (path == Path::splice) {
      EXPECT_GT(joined.tcp.faults.count(Call::splice), 0u);
    }
    if (path == Path::copy) {
      EXPECT_EQ(joined.tcp.faults.count(Call::splice), 0u);
    }
    joined.a.shutdown_write();
    joined.b.shutdown_write();
    ASSERT_TRUE(joined.until_done());
    EXPECT_EQ(joined.result.a_to_b, forth.size());
    EXPECT_EQ(joined.result.b_to_a, back.size());
  });
}

TEST(Relay, F19_AHalfCloseIsPassedOnAndTheOtherDirectionGoesOn) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    Joined joined(options, path);
    EXPECT_EQ(joined.pass(joined.a, joined.b, "question"), "question");
    joined.a.shutdown_write();
    EXPECT_EQ(read_to_end(joined.tcp, joined.b), "");
    EXPECT_EQ(joined.b.ended(), TestClient::End::eof);
    const std::string answer = pattern(700'000);
    EXPECT_EQ(joined.pass(joined.b, joined.a, answer), answer);
    EXPECT_EQ(joined.done, 0);
    EXPECT_TRUE(joined.handle.active());
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
    joined.b.shutdown_write();
    EXPECT_EQ(read_to_end(joined.tcp, joined.a), "");
    EXPECT_EQ(joined.a.ended(), TestClient::End::eof);
    ASSERT_TRUE(joined.until_done());
    EXPECT_EQ(joined.done, 1);
    EXPECT_FALSE(joined.handle.active());
    EXPECT_EQ(joined.result.a, (CloseReason{Kind::peer_eof, {}}));
    EXPECT_EQ(joined.result.b, (CloseReason{Kind::peer_eof, {}}));
    EXPECT_EQ(joined.result.a_to_b, 8u);
    EXPECT_EQ(joined.result.b_to_a, answer.size());
    EXPECT_EQ(joined.tcp.calls.close, 0) << "the old handler is told nothing any more";
  });
}

// All that was sent before a FIN comes before it, however slowly it is read.
TEST(Relay, F19_AFinWaitsForWhatIsHeld) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 100'000;
    Joined joined(options, path, Buffers::small);
    const std::string all = pattern(400'000);
    std::size_t sent = 0;
    std::string got;
    ASSERT_TRUE(joined.tcp.until([&] {
      if (sent < all.size()) {
        sent += joined.a.send_some(std::string_view(all).substr(sent), Duration::zero());
        if (sent == all.size()) joined.a.shutdown_write();
      }
      got += joined.b.receive_exactly(15'000, Duration::zero());
      return joined.b.ended() != TestClient::End::open;
    }));
    EXPECT_EQ(got, all);
    EXPECT_EQ(joined.b.ended(), TestClient::End::eof);
    joined.b.shutdown_write();
    ASSERT_TRUE(joined.until_done());
  });
}

TEST(Relay, F22_AResetIsPassedOnAfterWhatCameBefore) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    for (const bool first : {true, false}) {
      SCOPED_TRACE(first ? "a resets" : "b resets");
      Joined joined(options, path);
      TestClient& from = first ? joined.a : joined.b;
      TestClient& to = first ? joined.b : joined.a;
      EXPECT_EQ(joined.pass(from, to, "greeting"), "greeting");
      ASSERT_TRUE(from.send_all("last words"));
      run_turn(joined.tcp.loop);
      from.reset();
      EXPECT_EQ(read_to_end(joined.tcp, to), "last words");
      EXPECT_EQ(to.ended(), TestClient::End::reset);
      ASSERT_TRUE(joined.until_done());
      EXPECT_EQ(joined.done, 1);
      const CloseReason& here = first ? joined.result.a : joined.result.b;
      const CloseReason& there = first ? joined.result.b : joined.result.a;
      EXPECT_EQ(here.kind, Kind::reset);
      EXPECT_EQ(there.kind, Kind::aborted);
    }
  });
}

// The peer that reads slowly gets everything that came before the other's reset, and then a reset.
TEST(Relay, F22_AResetWaitsUntilASlowReaderHasItAll) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 1024 * 1024;
    Joined joined(options, path, Buffers::small);
    const std::string all = pattern(300'000);
    std::size_t sent = 0;
    ASSERT_TRUE(joined.tcp.until([&] {
      sent += joined.a.send_some(std::string_view(all).substr(sent), Duration::zero());
      return joined.left.get()->bytes_in() == all.size();
    })) << sent;
    joined.a.reset();
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
    EXPECT_EQ(read_to_end(joined.tcp, joined.b), all);
    EXPECT_EQ(joined.b.ended(), TestClient::End::reset);
    ASSERT_TRUE(joined.until_done());
    EXPECT_EQ(joined.result.a_to_b, all.size());
    EXPECT_EQ(joined.result.b.kind, Kind::aborted);
  });
}

TEST(Relay, F25_AStalledReaderInTheMiddleBoundsWhatIsHeld) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 128 * 1024;
    options.max_output = 128 * 1024 + 4096;
    options.max_input = 64 * 1024;
    Joined joined(options, path, Buffers::small);
    const std::size_t sent = joined.fill();
    const TcpConnection* sink = joined.right.get();
    const TcpConnection* source = joined.left.get();
    ASSERT_NE(sink, nullptr);
    EXPECT_GT(sink->pending_output(), 0u);
    EXPECT_LE(sink->pending_output(), options.high_water);
    EXPECT_LE(source->pending_input(), options.max_input);
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
    // The other direction is not stopped by it.
    const std::string back = pattern(64 * 1024, 99);
    EXPECT_EQ(joined.pass(joined.b, joined.a, back), back);
    // And it goes on where it stood.
    std::string got;
    EXPECT_TRUE(joined.tcp.until([&] {
      got += joined.b.receive_exactly(sent - got.size(), Duration::zero());
      return got.size() == sent;
    })) << got.size()
        << " of " << sent;
    EXPECT_TRUE(got == pattern(sent));
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
  });
}

// Many small pieces fill a pipe long before its bytes do.
TEST(Relay, F11_APipeFullOfSmallPiecesDoesNotSpin) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Joined joined({.trigger = trigger}, Path::splice, Buffers::small);
    std::string sent;
    bool more = true;
    for (int i = 0; more && i < 20000; ++i) {
      const std::string piece = pattern(3, sent.size());
      const std::size_t n = joined.a.send_some(piece, Duration::zero());
      sent += piece.substr(0, n);
      more = n > 0;
      run_turn(joined.tcp.loop);
    }
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
    std::string got;
    EXPECT_TRUE(joined.tcp.until([&] {
      got += joined.b.receive_exactly(sent.size() - got.size(), Duration::zero());
      return got.size() == sent.size();
    })) << got.size()
        << " of " << sent.size();
    EXPECT_TRUE(got == sent);
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
  }
}

// splice(2) does not get past the place of an urgent byte, RFC 6093, which recv(2) leaves out.
TEST(Relay, F11_AnUrgentByteNeitherSpinsNorStops) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    Joined joined(options, path);
    const std::string before = pattern(200'000);
    EXPECT_EQ(joined.pass(joined.a, joined.b, before), before);
    ASSERT_EQ(::send(joined.a.fd(), "!", 1, MSG_OOB), 1);
    run_for(joined.tcp.loop, 5ms);
    const std::string behind = pattern(200'000, before.size());
    EXPECT_TRUE(joined.pass(joined.a, joined.b, behind) == behind);
    EXPECT_TRUE(rests(joined.tcp.loop, joined.tcp.faults));
  });
}

// Both peers write and do not read until they are done: neither direction waits for the other.
TEST(Relay, F26_TwoFullDirectionsDoNotWaitForEachOther) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 32 * 1024;
    Joined joined(options, path, Buffers::small);
    std::size_t sent = joined.fill();
    // On a busy machine the kernel may take some of it only now, which makes room for more.
    EXPECT_TRUE(joined.tcp.until([&] {
      sent += joined.a.send_some(pattern(64 * 1024, sent), Duration::zero());
      return joined.right.get()->pending_output() >= options.high_water / 2;
    }));
    const std::string back = pattern(500'000);
    EXPECT_EQ(joined.pass(joined.b, joined.a, back), back);
  });
}

TEST(Relay, WhatWasLeftUnreadIsForwardedFirst) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    TcpHarness tcp(options);
    TestClient upstream = tcp.connect();
    const ConnectionRef up = tcp.ref();
    int done = 0;
    std::string head;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      if (c.ref() == up) return;  // left for the relay
      const std::size_t end = in.view().find('\n');
      if (end == std::string_view::npos) return;
      head = in.view().substr(0, end);
      in.consume(end + 1);
      relay(c, *up.get(), {.path = path}, [&](const RelayResult&) { ++done; });
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(upstream.send_all("early answer"));
    ASSERT_TRUE(tcp.until([&] { return up.get()->pending_input() == 12; }));
    ASSERT_TRUE(client.send_all("CONN"));
    ASSERT_TRUE(tcp.until([&] { return tcp.connection()->pending_input() == 4; }));
    ASSERT_TRUE(client.send_all("ECT\nfirst bytes"));
    EXPECT_EQ(tcp.collect(upstream, 11), "first bytes");
    EXPECT_EQ(tcp.collect(client, 12), "early answer");
    EXPECT_EQ(head, "CONNECT");
    ASSERT_TRUE(client.send_all(" and more"));
    EXPECT_EQ(tcp.collect(upstream, 9), " and more");
    client.shutdown_write();
    upstream.shutdown_write();
    EXPECT_TRUE(tcp.until([&] { return done == 1; }));
  });
}

TEST(Relay, WhatHappenedBeforeItIsMadeUpFor) {
  TcpHarness tcp({.allow_half_open = true});
  TestClient a = tcp.connect();
  const ConnectionRef left = tcp.ref();
  TestClient b = tcp.connect();
  a.shutdown_write();
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
  int done = 0;
  relay(*left.get(), *tcp.connection(), [&](const RelayResult&) { ++done; });
  EXPECT_EQ(read_to_end(tcp, b), "");
  EXPECT_EQ(b.ended(), TestClient::End::eof);
  b.shutdown_write();
  EXPECT_EQ(read_to_end(tcp, a), "");
  EXPECT_TRUE(tcp.until([&] { return done == 1; }));
}

// `nc -N proxy < request`: all has come, and its end, before there is anybody to forward it to.
TEST(Relay, F19_WhatWasLeftBeforeAHalfCloseIsForwardedBeforeIt) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.allow_half_open = true;
    options.high_water = 32 * 1024;  // it is not forwarded in one go
    TcpHarness tcp(options);
    tcp.on.data = [](TcpConnection&, Buffer&) {};  // left for the relay
    TestClient client = tcp.connect();
    const ConnectionRef left = tcp.ref();
    const std::string request = pattern(200'000);
    ASSERT_TRUE(client.send_all(request));
    client.shutdown_write();
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
    ASSERT_EQ(left.get()->pending_input(), request.size());
    TestClient upstream = tcp.connect();
    int done = 0;
    relay(*left.get(), *tcp.connection(), {.path = path}, [&](const RelayResult&) { ++done; });
    EXPECT_TRUE(read_to_end(tcp, upstream) == request);
    EXPECT_EQ(upstream.ended(), TestClient::End::eof);
    ASSERT_TRUE(upstream.send_all("answer"));
    upstream.shutdown_write();
    EXPECT_EQ(read_to_end(tcp, client), "answer");
    EXPECT_TRUE(tcp.until([&] { return done == 1; }));
  });
}

// The upstream has said all before it has read all: both ends of the client are over, but not what
// it left.
TEST(Relay, F19_WhatWasLeftOutlivesBothEndsOfItsConnection) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.allow_half_open = true;
    options.high_water = 32 * 1024;
    options.max_input = 8'000'000;
    TcpHarness tcp(options);
    tcp.on.data = [](TcpConnection&, Buffer&) {};  // left for the relay
    TestClient client = tcp.connect();
    const ConnectionRef left = tcp.ref();
    const std::string request = pattern(7'000'000);
    std::size_t sent = 0;
    ASSERT_TRUE(tcp.until([&] {
      sent += client.send_some(std::string_view(request).substr(sent), Duration::zero());
      return sent == request.size();
    }));
    client.shutdown_write();
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.half_close == 1; }));
    TestClient upstream = tcp.connect(0, kSmall);
    int done = 0;
    relay(*left.get(), *tcp.connection(), {.path = path}, [&](const RelayResult&) { ++done; });
    ASSERT_TRUE(upstream.send_all("answer"));
    upstream.shutdown_write();
    EXPECT_EQ(read_to_end(tcp, client), "answer");
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    EXPECT_EQ(done, 0);
    EXPECT_TRUE(read_to_end(tcp, upstream) == request);
    EXPECT_EQ(upstream.ended(), TestClient::End::eof);
    EXPECT_TRUE(tcp.until([&] { return done == 1; }));
  });
}

TEST(Relay, ASideThatIsOverEndsTheOther) {
  for (const bool both : {false, true}) {
    TcpHarness tcp;
    TestClient a = tcp.connect();
    const ConnectionRef left = tcp.ref();
    TestClient b = tcp.connect();
    int done = 0;
    RelayResult result;
    tcp.loop.post([&] {
      TcpConnection& one = *left.get();
      TcpConnection& other = *tcp.connection();
      one.abort();
      if (both) other.abort();
      relay(one, other, [&](const RelayResult& r) {
        ++done;
        result = r;
      });
      EXPECT_EQ(done, 0) << "no event from inside a call";
    });
    EXPECT_TRUE(tcp.until([&] { return done == 1 && tcp.server->connection_count() == 0; }));
    EXPECT_EQ(result.a.kind, Kind::aborted);
    EXPECT_EQ(result.b.kind, Kind::aborted);
    EXPECT_EQ(read_to_end(tcp, b), "");
    EXPECT_EQ(b.ended(), TestClient::End::reset);
  }
}

TEST(Relay, AnOrderlyEndOfOneSideEndsTheOtherInOrder) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    Joined joined(options, path);
    EXPECT_EQ(joined.pass(joined.a, joined.b, "x"), "x");
    joined.left.get()->close();
    EXPECT_EQ(read_to_end(joined.tcp, joined.a), "");
    EXPECT_EQ(joined.a.ended(), TestClient::End::eof);
    joined.a.close();
    EXPECT_EQ(read_to_end(joined.tcp, joined.b), "");
    EXPECT_EQ(joined.b.ended(), TestClient::End::eof);
    joined.b.close();
    ASSERT_TRUE(joined.until_done());
    EXPECT_EQ(joined.result.a.kind, Kind::local_close);
    EXPECT_EQ(joined.result.b.kind, Kind::local_close);
  });
}

TEST(Relay, CancelResetsBoth) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    Joined joined(options, path);
    EXPECT_EQ(joined.pass(joined.a, joined.b, "x"), "x");
    joined.handle.cancel();
    EXPECT_EQ(joined.done, 0);
    EXPECT_EQ(read_to_end(joined.tcp, joined.a), "");
    EXPECT_EQ(read_to_end(joined.tcp, joined.b), "");
    EXPECT_EQ(joined.a.ended(), TestClient::End::reset);
    EXPECT_EQ(joined.b.ended(), TestClient::End::reset);
    ASSERT_TRUE(joined.until_done());
    EXPECT_EQ(joined.result.a.kind, Kind::aborted);
    EXPECT_FALSE(joined.handle.active());
    joined.handle.cancel();
  });
}

TEST(Relay, F05_TheServerMayGoInTheMiddle) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 16 * 1024;
    Joined joined(options, path, Buffers::small);
    joined.a.send_some(pattern(500'000), Duration::zero());
    run_for(joined.tcp.loop, 5ms);
    joined.tcp.server.reset();
    EXPECT_TRUE(joined.tcp.until([&] { return !joined.handle.active(); }));
    EXPECT_EQ(joined.done, 0) << "forgotten with the handlers";
  });
}

// One side belongs to a server that is destroyed, the other to one that goes on.
TEST(Relay, F05_TheServerOfOneSideMayGo) {
  TcpHarness tcp;
  TestClient a = tcp.connect();
  const ConnectionRef left = tcp.ref();
  std::optional<TcpServer> second(std::in_place, tcp.loop);
  ConnectionRef right;
  second->on_open([&](TcpConnection& c) { right = c.ref(); });
  const auto where = second->listen("127.0.0.1:0");
  ASSERT_TRUE(where);
  TestClient b(*where);
  ASSERT_TRUE(tcp.until([&] { return right.get() != nullptr; }));
  int done = 0;
  const RelayHandle handle = relay(*left.get(), *right.get(), [&](const RelayResult&) { ++done; });
  second.reset();
  EXPECT_EQ(read_to_end(tcp, a), "");
  EXPECT_EQ(a.ended(), TestClient::End::eof);
  a.close();
  EXPECT_TRUE(tcp.until([&] { return !handle.active() && tcp.server->connection_count() == 0; }));
  EXPECT_EQ(done, 0);
}

TEST(Relay, F69_AGracefulStopServesWhatHasArrived) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    Joined joined(options, path);
    const std::string last = pattern(200'000);
    const std::size_t sent = joined.a.send_some(last, Duration::zero());
    bool stopped = false;
    joined.tcp.server->shutdown(5s, [&] { stopped = true; });
    std::string got;
    EXPECT_TRUE(joined.tcp.until([&] {
      got += joined.b.receive_exactly(last.size(), Duration::zero());
      if (joined.b.ended() != TestClient::End::open) {
        joined.a.close();
        joined.b.close();
      }
      return stopped;
    }));
    EXPECT_EQ(got.size(), sent);
    EXPECT_EQ(joined.done, 1);
  });
}

// The other side belongs to another server, as that of a proxy belongs to a client.
class TwoServers {
 public:
  TwoServers() : a(tcp.connect()), left(tcp.ref()), second(tcp.loop) {
    second.on_open([&](TcpConnection& c) {
      set_send_buffer(c, kSmall);
      right = c.ref();
    });
    const auto where = second.listen("127.0.0.1:0");
    EXPECT_TRUE(where);
    b.set_buffers(0, kSmall);
    b.connect(*where);
    EXPECT_TRUE(tcp.until([&] { return right.get() != nullptr; }));
    relay(*left.get(), *right.get(), {.path = Path::copy}, [this](const RelayResult&) { ++done; });
  }
  // Sends less than what may wait for b, which reads nothing.
  std::size_t fill() {
    std::size_t sent = 0;
    for (int idle = 0; idle < 10; run_for(tcp.loop, 2ms)) {
      const std::size_t n = sent < 500'000 ? a.send_some(pattern(50'000, sent), 0ms) : 0;
      sent += n;
      idle = n > 0 ? 0 : idle + 1;
    }
    return sent;
  }

  TcpHarness tcp;
  TestClient a;
  ConnectionRef left;
  TcpServer second;
  ConnectionRef right;
  TestClient b;
  int done = 0;
};

TEST(Relay, F69_AStopWaitsForTheOtherSide) {
  TwoServers two;
  const std::size_t sent = two.fill();
  ASSERT_GT(two.right.get()->pending_output(), 0u);
  bool stopped = false;
  two.tcp.server->shutdown(20s, [&] { stopped = true; });
  EXPECT_EQ(read_to_end(two.tcp, two.a), "");
  two.a.close();
  EXPECT_TRUE(two.tcp.until([&] { return two.tcp.server->connection_count() == 0; }));
  run_for(two.tcp.loop, 10ms);
  EXPECT_FALSE(stopped) << "its other side has still to send";
  EXPECT_EQ(read_to_end(two.tcp, two.b).size(), sent);
  EXPECT_EQ(two.b.ended(), TestClient::End::eof);
  EXPECT_FALSE(stopped);
  two.b.close();
  EXPECT_TRUE(two.tcp.until([&] { return stopped; }));
  EXPECT_EQ(two.done, 1);
}

TEST(Relay, F69_AStopEndsTheOtherSideAtOnce) {
  TwoServers two;
  two.tcp.server->shutdown(20s, [] {});
  EXPECT_EQ(read_to_end(two.tcp, two.b), "") << "while a keeps its side open";
  EXPECT_EQ(two.b.ended(), TestClient::End::eof);
}

TEST(Relay, F69_TheDeadlineOfAStopIsThatOfTheOtherSide) {
  TwoServers two;
  two.fill();
  bool stopped = false;
  two.tcp.server->shutdown(100ms, [&] { stopped = true; });
  two.a.close();
  EXPECT_TRUE(two.tcp.until([&] { return stopped; }));
  EXPECT_EQ(two.done, 1);
  EXPECT_EQ(two.second.connection_count(), 0u);
}

// A program may itself send over a relayed connection, and from on_done: nothing breaks.
TEST(Relay, F06_OnDoneMayDoAnything) {
  in_every_way([](const TcpServer::Options& options, Path path) {
    TcpHarness tcp(options);
    TestClient a = tcp.connect();
    const ConnectionRef left = tcp.ref();
    TestClient b = tcp.connect();
    const ConnectionRef right = tcp.ref();
    RelayHandle handle;
    int done = 0;
    handle = relay(*left.get(), *right.get(), {.path = path}, [&](const RelayResult&) {
      ++done;
      EXPECT_FALSE(handle.active());
      handle.cancel();
      tcp.server.reset();
    });
    ASSERT_TRUE(right.send("unasked"));
    EXPECT_EQ(tcp.collect(b, 7), "unasked");
    a.reset();
    EXPECT_TRUE(tcp.until([&] { return done == 1; }));
    EXPECT_EQ(read_to_end(tcp, b), "");
  });
}

TEST(Relay, F33_TheDeadlinesStillHold) {
  in_every_way([](TcpServer::Options options, Path path) {
    options.high_water = 32 * 1024;
    options.write_stall_timeout = 2s;
    Joined joined(options, path, Buffers::small);
    joined.fill();
    ASSERT_GT(joined.right.get()->pending_output(), 0u);
    joined.tcp.faults.advance_clock(5s);
    ASSERT_TRUE(joined.until_done());
    EXPECT_EQ(joined.result.b.kind, Kind::write_stall);
    EXPECT_EQ(joined.result.a.kind, Kind::aborted);
  });
}

TEST(RelayDeath, WrongUseIsNamed) {
  TcpHarness tcp;
  TestClient a = tcp.connect();
  const ConnectionRef left = tcp.ref();
  TestClient b = tcp.connect();
  const ConnectionRef right = tcp.ref();
  EXPECT_DEATH(relay(*left.get(), *left.get()), "relay\\(\\) of a connection with itself");
  relay(*left.get(), *right.get());
  EXPECT_DEATH(relay(*left.get(), *right.get()), "relayed already");
  ConnectionHandler other;
  EXPECT_DEATH(left.get()->set_handler(other), "TcpConnection::set_handler");
}

}  // namespace
}  // namespace weir::test
