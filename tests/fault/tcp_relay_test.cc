// relay() when the kernel refuses pipes, splices little, or not at all.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "weir/net/route/relay.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using Path = RelayOptions::Path;
using namespace std::chrono_literals;

struct Spliced {
  explicit Spliced(TcpServer::Options options = {}, Path path = Path::splice)
      : tcp(options), a(tcp.connect()), left(tcp.ref()), b(tcp.connect()), right(tcp.ref()) {
    relay(*left.get(), *right.get(), {.path = path}, [this](const RelayResult& r) {
      ++done;
      result = r;
    });
  }

  // Sends `size` bytes from a to b while b reads; says whether they arrived.
  [[nodiscard]] bool passes(std::size_t size) {
    const std::string all = pattern(size);
    std::size_t sent = 0;
    std::string got;
    const bool arrived = tcp.until([&] {
      if (sent < size) sent += a.send_some(std::string_view(all).substr(sent), Duration::zero());
      got += b.receive_exactly(size - got.size(), Duration::zero());
      return got.size() == size || b.ended() != TestClient::End::open;
    });
    return arrived && got == all;
  }
  [[nodiscard]] bool ends() {
    a.shutdown_write();
    b.shutdown_write();
    return tcp.until([this] { return done == 1 && tcp.server->connection_count() == 0; });
  }
  std::uint64_t splices() const { return tcp.faults.count(Call::splice); }

  TcpHarness tcp;
  TestClient a;
  ConnectionRef left;
  TestClient b;
  ConnectionRef right;
  int done = 0;
  RelayResult result;
};

TEST(RelayFaults, F35_WithoutDescriptorsForAPipeItCopies) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {EMFILE, ENFILE, ENOMEM}) {
      Spliced relayed({.trigger = trigger});
      relayed.tcp.faults.on(Call::pipe2).always().fail(error);
      EXPECT_TRUE(relayed.passes(1'000'000)) << error;
      EXPECT_EQ(relayed.splices(), 0u);
      relayed.tcp.faults.clear();  // and splices once there are some again
      EXPECT_TRUE(relayed.passes(1'000'000)) << error;
      EXPECT_GT(relayed.splices(), 0u);
      EXPECT_TRUE(relayed.ends());
      EXPECT_EQ(relayed.result.a_to_b, 2'000'000u);
    }
  }
}

TEST(RelayFaults, APipeThatMayNotGrowIsUsedAsItIs) {
  for (const bool size_known : {true, false}) {
    Spliced relayed;
    relayed.tcp.faults.on(Call::fcntl).argument(F_SETPIPE_SZ).fail(EPERM);
    if (!size_known) relayed.tcp.faults.on(Call::fcntl).argument(F_GETPIPE_SZ).fail(EBADF);
    EXPECT_TRUE(relayed.passes(3'000'000));
    EXPECT_GT(relayed.splices(), 0u);
    EXPECT_TRUE(relayed.ends());
  }
}

TEST(RelayFaults, WhereSplicingIsForbiddenItCopies) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {EINVAL, ENOSYS, EPERM}) {
      Spliced relayed({.trigger = trigger});
      relayed.tcp.faults.on(Call::splice).always().fail(error);
      EXPECT_TRUE(relayed.passes(1'000'000)) << error;
      EXPECT_LE(relayed.splices(), 2u) << "asked once and for all, in each direction";
      EXPECT_TRUE(relayed.ends());
      EXPECT_EQ(relayed.result.a.kind, Kind::peer_eof);
    }
  }
}

TEST(RelayFaults, F18_ShortSplicesLoseNothing) {
  for (const Trigger trigger : kTriggers) {
    for (const std::size_t limit : {1u, 7u, 4096u}) {
      SCOPED_TRACE(std::string(name(trigger)) + ", " + std::to_string(limit));
      Spliced relayed({.trigger = trigger});
      relayed.tcp.faults.on(Call::splice).fd(relayed.right.get()->fd()).limit_bytes(limit);
      EXPECT_TRUE(relayed.passes(limit * 1000));
      relayed.tcp.faults.clear();
      relayed.tcp.faults.on(Call::splice).fd(relayed.left.get()->fd()).limit_bytes(limit);
      EXPECT_TRUE(relayed.passes(limit * 1000));
      EXPECT_TRUE(rests(relayed.tcp.loop, relayed.tcp.faults, 100ms));
      EXPECT_TRUE(relayed.ends());
    }
  }
}

// EAGAIN for an event that promised more, on either side.
TEST(RelayFaults, F11_AnEventThatPromisedTooMuchIsNoError) {
  for (const Trigger trigger : kTriggers) {
    Spliced relayed({.trigger = trigger});
    relayed.tcp.faults.on(Call::splice).fd(relayed.left.get()->fd()).nth(1).fail(EAGAIN);
    if (trigger == Trigger::edge) relayed.a.send_all("x");  // an edge comes but once
    if (trigger == Trigger::level) {
      relayed.tcp.faults.on(Call::splice).fd(relayed.right.get()->fd()).nth(1).fail(EAGAIN);
    }
    relayed.tcp.turns(3);
    if (trigger == Trigger::edge) {
      relayed.a.send_all("y");
      EXPECT_EQ(relayed.tcp.collect(relayed.b, 2), "xy");
    } else {
      EXPECT_TRUE(relayed.passes(100'000));
    }
    EXPECT_TRUE(rests(relayed.tcp.loop, relayed.tcp.faults, 100ms));
    EXPECT_TRUE(relayed.ends());
  }
}

TEST(RelayFaults, F24_NoMemoryForNowIsWaitedOut) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {ENOMEM, ENOBUFS}) {
      for (const bool source : {true, false}) {
        SCOPED_TRACE(std::string(name(trigger)) + (source ? ", source" : ", sink"));
        Spliced relayed({.trigger = trigger});
        const int fd = source ? relayed.left.get()->fd() : relayed.right.get()->fd();
        relayed.tcp.faults.on(Call::splice).fd(fd).first(3).fail(error);
        EXPECT_TRUE(relayed.passes(500'000));
        EXPECT_TRUE(rests(relayed.tcp.loop, relayed.tcp.faults, 100ms));
        EXPECT_TRUE(relayed.ends());
      }
    }
  }
}

TEST(RelayFaults, F21_AnErrorOfTheSinkEndsBoth) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {EPIPE, ECONNRESET, EIO}) {
      SCOPED_TRACE(std::string(name(trigger)) + ", " + std::to_string(error));
      Spliced relayed({.trigger = trigger});
      relayed.tcp.faults.on(Call::splice).fd(relayed.right.get()->fd()).always().fail(error);
      relayed.a.send_all(pattern(10'000));
      EXPECT_TRUE(relayed.tcp.until([&] { return relayed.done == 1; }));
      EXPECT_EQ(relayed.result.b.kind, error == EIO ? Kind::io_error : Kind::reset);
      EXPECT_EQ(relayed.result.b.error, Errno(error));
      EXPECT_EQ(relayed.result.a.kind, Kind::aborted);
      EXPECT_EQ(relayed.result.a_to_b, 0u);
    }
  }
}

TEST(RelayFaults, F22_AnErrorOfTheSourceEndsBothAfterWhatIsHeld) {
  for (const Trigger trigger : kTriggers) {
    Spliced relayed({.trigger = trigger});
    EXPECT_TRUE(relayed.passes(1000));
    relayed.tcp.faults.on(Call::splice).fd(relayed.left.get()->fd()).nth(2).fail(ECONNRESET);
    relayed.tcp.faults.on(Call::splice).fd(relayed.right.get()->fd()).first(1).fail(EAGAIN);
    relayed.a.send_all("held");
    relayed.tcp.turns(2);
    relayed.a.send_all("lost");
    EXPECT_EQ(relayed.tcp.collect(relayed.b, 4), "held");
    EXPECT_TRUE(relayed.tcp.until([&] { return relayed.done == 1; }));
    EXPECT_EQ(relayed.result.a, (CloseReason{Kind::reset, Errno(ECONNRESET)}));
    EXPECT_EQ(relayed.result.b.kind, Kind::aborted);
  }
}

// A pipe that gives nothing though it holds something would otherwise be asked for ever.
TEST(RelayFaults, F08_APipeThatLiesEndsTheConnection) {
  Spliced relayed;
  relayed.tcp.faults.on(Call::splice).fd(relayed.right.get()->fd()).always().answer(0);
  relayed.a.send_all("x");
  EXPECT_TRUE(relayed.tcp.until([&] { return relayed.done == 1; }));
  EXPECT_EQ(relayed.result.b, (CloseReason{Kind::io_error, Errno(EIO)}));
}

// Idle relays hold no pipe, and busy ones share few.
TEST(RelayFaults, F72_ManyRelaysNeedFewPipes) {
  constexpr std::size_t kPairs = 20;
  TcpHarness tcp;
  std::vector<TestClient> clients;
  for (std::size_t i = 0; i < 2 * kPairs; ++i) clients.push_back(tcp.connect());
  for (std::size_t i = 0; i < kPairs; ++i) {
    relay(*tcp.refs[2 * i].get(), *tcp.refs[2 * i + 1].get(), {.path = Path::splice});
  }
  run_for(tcp.loop, 5ms);
  EXPECT_LE(tcp.faults.count(Call::pipe2), 1u);
  for (int round = 0; round < 5; ++round) {
    for (std::size_t i = 0; i < 2 * kPairs; ++i) ASSERT_TRUE(clients[i].send_all("hello"));
    for (std::size_t i = 0; i < 2 * kPairs; ++i) {
      ASSERT_EQ(tcp.collect(clients[i], 5), "hello");
    }
  }
  EXPECT_EQ(tcp.faults.count(Call::pipe2), 1u);
}

// A few bytes now and then are copied: one receive, one send, no pipe.
TEST(RelayFaults, SmallTrafficIsCopied) {
  Spliced relayed({}, Path::automatic);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(relayed.passes(100));
  EXPECT_EQ(relayed.tcp.faults.count(Call::pipe2), 0u);
  const auto before = relayed.tcp.faults.count(Call::send);
  ASSERT_TRUE(relayed.passes(100));
  EXPECT_EQ(relayed.tcp.faults.count(Call::send), before + 1);
  ASSERT_TRUE(relayed.passes(5'000'000));
  EXPECT_GT(relayed.splices(), 0u);
  const auto splices = relayed.splices();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(relayed.passes(100));
  EXPECT_LE(relayed.splices(), splices + 2) << "copied again";
  EXPECT_TRUE(relayed.ends());
}

}  // namespace
}  // namespace weir::test
