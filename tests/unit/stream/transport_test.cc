// Connections over a transport: what comes before on_open, what is held back, and how it ends.
// The other tests of this program run over a transport as well: see in_transport_column().
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/expect_log.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "support/test_transport.h"
#include "weir/net/route/relay.h"
#include "weir/net/sys/sys.h"
#include "weir/net/tcp/tcp_client.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;

std::shared_ptr<TransportFactory> transports(const TestTransport::Options& options) {
  return std::make_shared<TestTransports>(options);
}

// A server and a client on one loop, both over a transport.
struct TwoEnds {
  TwoEnds(const TestTransport::Options& server_transport,
          const TestTransport::Options& client_transport, TcpServer::Options server_options = {},
          TcpClient::Options client_options = {})
      : tcp([&] {
          server_options.transport = transports(server_transport);
          return server_options;
        }()) {
    client_options.transport = transports(client_transport);
    client.emplace(tcp.loop, client_options);
    client->use_handler(at_client.unowned());
    client->on_connect_error(
        [this](const Error& error, int) { errors.push_back(error.message()); });
  }
  ~TwoEnds() { client.reset(); }
  void connect() { ASSERT_TRUE(client->connect(tcp.address)); }
  // What the client sends comes back, as it was.
  void expect_echo(std::size_t size) {
    tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
    connect();
    ASSERT_TRUE(tcp.until([&] { return at_client.connection() != nullptr; }));
    const std::string bytes = pattern(size);
    EXPECT_TRUE(at_client.ref().send(bytes));
    EXPECT_TRUE(tcp.until([&] { return at_client.received.size() == bytes.size(); }));
    EXPECT_TRUE(at_client.received == bytes);
  }

  TcpHarness tcp;
  CountedEvents at_client;
  std::optional<TcpClient> client;
  std::vector<std::string> errors;
};

TEST(Transport, BytesArriveChangedAndInOrderBothWays) {
  const TestTransport::Options key{.key = 0x5a};
  TwoEnds ends(key, key);
  ends.expect_echo(3'000'000);
  ends.client->close();
  EXPECT_TRUE(ends.tcp.until([&] { return ends.at_client.reason.has_value(); }));
  EXPECT_EQ(ends.at_client.reason->kind, Kind::local_close);
  EXPECT_TRUE(ends.tcp.until_closed());
  EXPECT_EQ(ends.tcp.reason->kind, Kind::peer_eof);
}

// The server's on_open comes after the handshake; what the client sends at once lies behind it in
// the same segment, and is not reported by epoll again.
TEST(Transport, TheFirstBytesBehindTheHandshakeAreRead) {
  TcpHarness tcp({.transport = transports({.key = 0x11, .delays = 0})});
  TestClient client;
  ASSERT_TRUE(client.connect(tcp.address));
  tcp.turns(5);
  EXPECT_EQ(tcp.calls.open, 0);
  ASSERT_TRUE(client.send_all(std::string("\x11") + static_cast<char>('A' ^ 0x11)));
  EXPECT_TRUE(tcp.until([&] { return tcp.received == "A"; }));
  EXPECT_EQ(tcp.calls.open, 1);
}

TEST(Transport, AFailedHandshakeSendsItsAlertAndOpensNothing) {
  TwoEnds ends({.key = 0x5a, .refuses = true}, {.key = 0x5a});
  ends.connect();
  EXPECT_TRUE(ends.tcp.until([&] { return !ends.errors.empty(); }));
  EXPECT_EQ(ends.errors.front(),
            "connect to " + ends.tcp.address.to_string() + ": handshake: the peer refuses it");
  EXPECT_FALSE(ends.at_client.connection());
  EXPECT_FALSE(ends.at_client.reason);  // on_close belongs to on_open
  EXPECT_TRUE(ends.tcp.until([&] { return ends.tcp.server->connection_count() == 0; }));
  EXPECT_EQ(ends.tcp.calls.open + ends.tcp.calls.close, 0);
  EXPECT_EQ(ends.tcp.server->stats().closed_by(Kind::transport_failed), 1u);
  EXPECT_EQ(ends.client->state(), TcpClient::State::idle);
}

TEST(Transport, APeerThatLeavesDuringTheHandshakeIsCountedByHowItLeft) {
  TcpHarness tcp({.transport = transports({.key = 1})});
  for (const bool resets : {false, true}) {
    SCOPED_TRACE(resets);
    const AllowLog logged("the handshake with");  // one a second
    TestClient client;
    ASSERT_TRUE(client.connect(tcp.address));
    ASSERT_TRUE(tcp.until([&] { return tcp.server->connection_count() == 1; }));
    resets ? client.reset() : client.shutdown_write();
    EXPECT_TRUE(tcp.until([&] { return tcp.server->connection_count() == 0; }));
    for (const std::string& line : logged.lines()) {
      EXPECT_TRUE(line.ends_with(resets ? "failed: reset (ECONNRESET)" : "failed: peer_eof"))
          << line;
    }
  }
  EXPECT_EQ(tcp.server->stats().closed_by(Kind::peer_eof), 1u);
  EXPECT_EQ(tcp.server->stats().closed_by(Kind::reset), 1u);
  EXPECT_EQ(tcp.server->stats().closed_by(Kind::transport_failed), 0u);
}

TEST(Transport, AClientSaysThatTheServerClosedDuringTheHandshake) {
  TwoEnds ends({}, {.key = 1});
  ends.tcp.on.open = [](TcpConnection& c) { c.close(); };
  ends.connect();
  EXPECT_TRUE(ends.tcp.until([&] { return !ends.errors.empty(); }));
  EXPECT_EQ(ends.errors.front(),
            "connect to " + ends.tcp.address.to_string() + ": handshake: the peer closed");
}

TEST(Transport, AClientWhoseHandshakeFailedTriesAgain) {
  using namespace std::chrono_literals;
  TwoEnds ends({.key = 1}, {.key = 2}, {}, {.reconnect = {.initial = 1ms, .attempts = 3}});
  ends.connect();
  EXPECT_TRUE(ends.tcp.until([&] { return ends.errors.size() == 3; }));
  EXPECT_EQ(ends.client->state(), TcpClient::State::idle);
}

// The socket, with the two habits below.
class Habits : public Transport {
 public:
  IoResult handshake(int) override { return IoResult::moved(1); }
  IoResult read(int fd, std::span<std::byte> into) override {
    const auto got = internal::sys::recv(fd, into);
    if (!got) {
      return got.error() == EAGAIN ? IoResult::want_read() : IoResult::failed(got.error());
    }
    return *got == 0 ? IoResult::end() : IoResult::moved(*got);
  }
  bool has_pending() const override { return false; }
  IoResult write(int fd, std::span<const std::byte> bytes) override {
    const auto sent = internal::sys::send(fd, bytes);
    if (sent) return IoResult::moved(*sent);
    return sent.error() == EAGAIN ? IoResult::want_write() : IoResult::failed(sent.error());
  }
  std::size_t held() const override { return held_.size(); }
  IoResult flush(int fd) override {
    const IoResult result = write(fd, std::as_bytes(std::span(held_)));
    if (result.then == IoResult::Then::ok) held_.erase(0, result.bytes);
    return result;
  }
  IoResult finish(int) override { return IoResult::moved(1); }

 protected:
  std::string held_;
};
// An answer of the protocol must go out before the next read, as after a renegotiation.
class WritesBeforeItReads final : public Habits {
  IoResult read(int fd, std::span<std::byte> into) override {
    pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
    if (::poll(&writable, 1, 0) != 1) return IoResult::want_write();
    return Habits::read(fd, into);
  }
};
// Each read makes an answer of the protocol, such as a KeyUpdate of TLS.
class AnswersReads final : public Habits {
  IoResult read(int fd, std::span<std::byte> into) override {
    const IoResult result = Habits::read(fd, into);
    if (result.then == IoResult::Then::ok) held_ += "answer";
    return result;
  }
};
template <typename Made>
class Making final : public TransportFactory {
  std::unique_ptr<Transport> make(EventLoop&) override { return std::make_unique<Made>(); }
};

TEST(Transport, F13_AReadThatWaitsForASlowPeerDoesNotSpin) {
  TcpHarness tcp({.high_water = 64 << 20,
                  .max_output = 64 << 20,
                  .transport = std::make_shared<Making<WritesBeforeItReads>>()});
  TestClient client = tcp.connect(0, 4096);
  tcp.connection()->send(pattern(20 << 20));
  tcp.turns(40);
  ASSERT_TRUE(client.send_all("request"));
  tcp.turns(5);
  EXPECT_TRUE(rests(tcp.loop, tcp.faults));
  EXPECT_TRUE(tcp.collect(client, 20 << 20) == pattern(20 << 20));
  EXPECT_TRUE(tcp.until([&] { return tcp.received == "request"; }));
}

TEST(Transport, WhatAReadMakesIsSent) {
  TcpHarness tcp({.transport = std::make_shared<Making<AnswersReads>>()});
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_EQ(tcp.collect(client, 6), "answer");
}

// check_invariants() compares what is held with what is charged.
TEST(Transport, TheEndThatItHoldsIsCharged) {
  TcpHarness tcp({.transport = transports({.announces_end = true})});
  TestClient client = tcp.connect();
  tcp.faults.on(Call::send).fail(EAGAIN);
  tcp.connection()->close();
  tcp.turns(2);
  EXPECT_EQ(tcp.server->stats().buffered, 1u);
  EXPECT_EQ(tcp.faults.count(Call::shutdown), 0u) << "the FIN comes behind it";
  tcp.faults.clear();
  client.shutdown_write();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.server->stats().buffered, 0u);
}

TEST(Transport, F32_AHandshakeThatNeverComesEndsAtItsDeadline) {
  using namespace std::chrono_literals;
  TcpHarness tcp({.transport = transports({.key = 1}), .handshake_timeout = 3s});
  TestClient client;
  ASSERT_TRUE(client.connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.server->connection_count() == 1; }));
  pass(tcp, 2s);
  EXPECT_EQ(tcp.server->connection_count(), 1u);
  pass(tcp, 2s);
  EXPECT_TRUE(tcp.until([&] { return tcp.server->connection_count() == 0; }));
  EXPECT_EQ(tcp.server->stats().closed_by(Kind::handshake_timeout), 1u);
  EXPECT_EQ(tcp.calls.close, 0);
}

TEST(Transport, AServerThatStopsEndsHandshakesUnderWay) {
  TcpHarness tcp({.transport = transports({.key = 1})});
  TestClient client;
  ASSERT_TRUE(client.connect(tcp.address));
  ASSERT_TRUE(tcp.until([&] { return tcp.server->connection_count() == 1; }));
  bool stopped = false;
  tcp.server->shutdown(kDeadline, [&] { stopped = true; });
  EXPECT_TRUE(tcp.until([&] { return stopped; }));
  EXPECT_EQ(tcp.server->stats().closed_by(Kind::server_stopped), 1u);
}

// Counts the steps of handshakes that are made in each turn.
struct CountedSteps final : TransportFactory {
  struct Counting final : Transport {
    explicit Counting(CountedSteps& in) : all(in) {}
    IoResult handshake(int fd) override {
      ++all.steps[all.loop->stats().turns];
      return inner.handshake(fd);
    }
    IoResult read(int fd, std::span<std::byte> into) override { return inner.read(fd, into); }
    bool has_pending() const override { return inner.has_pending(); }
    IoResult write(int fd, std::span<const std::byte> bytes) override {
      return inner.write(fd, bytes);
    }
    std::size_t held() const override { return inner.held(); }
    IoResult flush(int fd) override { return inner.flush(fd); }
    IoResult finish(int fd) override { return inner.finish(fd); }
    TestTransport inner{{}};
    CountedSteps& all;
  };
  std::unique_ptr<Transport> make(EventLoop& on) override {
    loop = &on;
    return std::make_unique<Counting>(*this);
  }
  EventLoop* loop = nullptr;
  std::map<std::uint64_t, int> steps;
};

TEST(Transport, F13_AStormOfHandshakesMakesFewStepsInATurn) {
  constexpr int kClients = 60;
  const auto counted = std::make_shared<CountedSteps>();
  TcpHarness tcp({.transport = counted});
  std::vector<TestClient> clients(kClients);
  for (TestClient& client : clients) ASSERT_TRUE(client.connect(tcp.address));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == kClients; }));
  int all = 0;
  for (const auto& [turn, steps] : counted->steps) {
    EXPECT_LE(steps, 8) << "turn " << turn;
    all += steps;
  }
  EXPECT_EQ(all, 3 * kClients);
}

TEST(Transport, WhatItHoldsCountsForTheMarksAndTheDeadlines) {
  using namespace std::chrono_literals;
  TcpHarness tcp({.write_stall_timeout = 5s, .high_water = 100'000, .transport = transports({})});
  TestClient client = tcp.connect(0, 4096);
  shrink_send_buffer(*tcp.connection());
  const std::string bytes = pattern(1'000'000);
  for (std::size_t at = 0; at < bytes.size() && tcp.connection()->reading(); at += 10'000) {
    tcp.connection()->send(std::string_view(bytes).substr(at, 10'000));
    tcp.turns(1);
  }
  EXPECT_GE(tcp.connection()->pending_output(), 100'000u);
  EXPECT_EQ(tcp.calls.blocked, 1);
  EXPECT_GE(tcp.server->stats().buffered, 90'000u);
  pass(tcp, 6s);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::write_stall);
}

// Each direction waits for the other now and then.
TEST(Transport, AReadMayWaitForRoomAndAWriteForInput) {
  const TestTransport::Options crossing{.key = 3, .reads_cross = 3};
  TwoEnds ends(crossing, crossing);
  ends.expect_echo(500'000);

  TcpHarness tcp({.transport = transports({.writes_cross = 2})});
  TestClient client = tcp.connect();
  tcp.connection()->send("first ");
  tcp.turns(1);
  tcp.connection()->send("second");
  tcp.turns(3);
  EXPECT_EQ(tcp.collect(client, 6), "first ");
  EXPECT_TRUE(rests(tcp.loop, tcp.faults));  // the socket is writable all the time
  ASSERT_TRUE(client.send_all("go on"));
  EXPECT_EQ(tcp.collect(client, 6), "second");
}

TEST(Transport, ItsOwnEndGoesOutBeforeTheFinAndIsUnderstood) {
  const TestTransport::Options ending{.key = 3, .announces_end = true};
  TwoEnds ends(ending, ending, {.allow_half_open = true});
  ends.tcp.on.half_close = [](TcpConnection& c) {
    c.send("after your end");
    c.close();
  };
  ends.connect();
  ASSERT_TRUE(ends.tcp.until([&] { return ends.at_client.connection() != nullptr; }));
  ends.at_client.connection()->send("text");
  ends.at_client.connection()->shutdown();
  EXPECT_TRUE(ends.tcp.until([&] { return ends.at_client.received == "after your end"; }));
  EXPECT_EQ(ends.tcp.received, "text");
  EXPECT_TRUE(ends.tcp.until([&] { return ends.at_client.reason.has_value(); }));
  EXPECT_EQ(ends.at_client.reason->kind, Kind::peer_eof);
}

TEST(Transport, OneThatBecomesPlainIsGone) {
  TcpHarness tcp({.transport = transports({.becomes_plain = true})});
  TestClient client = tcp.connect();
  TestClient other = tcp.connect();
  relay(*tcp.refs[0].get(), *tcp.refs[1].get(), {.path = RelayOptions::Path::splice});
  ASSERT_TRUE(client.send_all(pattern(200'000)));
  const std::uint64_t before = tcp.faults.count(Call::splice);
  EXPECT_TRUE(tcp.collect(other, 200'000) == pattern(200'000));
  EXPECT_GT(tcp.faults.count(Call::splice), before);
}

TEST(Transport, ARelayOverATransportCopies) {
  TcpHarness tcp({.transport = transports({})});
  TestClient client = tcp.connect();
  TestClient other = tcp.connect();
  relay(*tcp.refs[0].get(), *tcp.refs[1].get(), {.path = RelayOptions::Path::splice});
  ASSERT_TRUE(client.send_all(pattern(200'000)));
  client.shutdown_write();
  EXPECT_TRUE(tcp.collect(other, 200'000) == pattern(200'000));
  EXPECT_EQ(tcp.faults.count(Call::splice), 0u);
  other.close();
  EXPECT_TRUE(tcp.until([&] { return tcp.server->connection_count() == 0; }));
}

}  // namespace
}  // namespace weir::test
