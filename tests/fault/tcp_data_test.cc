// The path of the bytes under faults: short transfers, forged events, errors of every receive and
// send.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using State = TcpConnection::State;
using namespace std::chrono_literals;

// The identity that epoll carries for it: its id() without the loop's number.
SlotId channel_of(const TcpConnection& c) {
  return {.slot = static_cast<std::uint32_t>(c.id() >> 28 & 0xffffff),
          .generation = static_cast<std::uint32_t>(c.id() & 0xfffffff)};
}

constexpr Call kSends[] = {Call::send, Call::sendmsg, Call::sendfile};
constexpr Call kReceives[] = {Call::recv, Call::recvmsg};

// --- F08: forged events --------------------------------------------------------------------------

constexpr std::array<std::uint32_t, 6> kBits = {EPOLLIN,  EPOLLOUT, EPOLLRDHUP,
                                                EPOLLERR, EPOLLHUP, EPOLLPRI};

enum class Where { open, half_closed, paused, blocked, closing, lingering };

void bring_to(Where where, TcpHarness& tcp, TestClient& client) {
  TcpConnection& c = *tcp.connection();
  switch (where) {
    case Where::open:
      break;
    case Where::half_closed:
      client.shutdown_write();
      ASSERT_TRUE(tcp.until([&] { return c.peer_half_closed(); }));
      break;
    case Where::paused:
      c.pause_reading();
      break;
    case Where::blocked:
      c.send(pattern(100'000));
      break;
    case Where::closing:
      c.send(pattern(100'000));
      c.close();
      break;
    case Where::lingering:
      c.close();
      break;
  }
  tcp.turns(2);
  const State expected = where == Where::closing     ? State::closing
                         : where == Where::lingering ? State::lingering
                                                     : State::open;
  ASSERT_EQ(c.state(), expected);
}

TEST(TcpData, F08_EveryForgedMaskInEveryStateIsHarmless) {
  for (const Trigger trigger : kTriggers) {
    for (const Where where : {Where::open, Where::half_closed, Where::paused, Where::blocked,
                              Where::closing, Where::lingering}) {
      TcpHarness tcp({.trigger = trigger, .high_water = 32 * 1024, .allow_half_open = true});
      tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
      TestClient client = tcp.connect(0, 4096);
      ASSERT_NO_FATAL_FAILURE(bring_to(where, tcp, client));
      TcpConnection& c = *tcp.connection();
      const State state = c.state();
      const SlotId id =
          SlotId::from_u64(std::uint64_t{static_cast<std::uint32_t>(c.id() & 0xfffffff)} << 32 |
                           ((c.id() >> 28) & 0xffffff));
      for (std::uint32_t mask = 0; mask < 64; ++mask) {
        SCOPED_TRACE(std::string(name(trigger)) + " state " +
                     std::to_string(static_cast<int>(where)) + " mask " + std::to_string(mask));
        std::uint32_t events = 0;
        for (std::size_t bit = 0; bit < kBits.size(); ++bit) {
          if ((mask & (1u << bit)) != 0) events |= kBits[bit];
        }
        const std::uint64_t before = tcp.loop.stats().events;
        tcp.faults.forge_batch({{id, events}});
        tcp.turns(3);
        ASSERT_GT(tcp.loop.stats().events, before) << "the event did not reach the connection";
        ASSERT_EQ(tcp.calls.close, 0);
        ASSERT_EQ(c.state(), state);
      }
      EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms)) << static_cast<int>(where);
      // And it goes on as if nothing had been.
      if (where == Where::paused) c.resume_reading();
      if (where == Where::open || where == Where::paused) {
        client.send_all("x");
        EXPECT_TRUE(tcp.until([&] { return tcp.received == "x"; }));
      }
      if (where == Where::blocked || where == Where::closing) {
        EXPECT_TRUE(tcp.collect(client, 100'000) == pattern(100'000));
      }
      client.close();
      c.ref().close();
      EXPECT_TRUE(tcp.until_closed());
    }
  }
}

// An error that only SO_ERROR knows of: EPOLLERR while reading is stopped and output waits.
TEST(TcpData, F08_AnErrorWithoutReadinessIsFetchedAndEndsTheConnection) {
  TcpHarness tcp;
  tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
  TestClient client = tcp.connect(0, 4096);
  TcpConnection& c = *tcp.connection();
  c.pause_reading();
  c.send(pattern(100'000));
  tcp.turns(2);
  tcp.faults.on(Call::getsockopt).argument(SO_ERROR).give_option(EHOSTUNREACH);
  tcp.faults.edit_batches([](std::vector<FaultTable::Event>& batch) {
    for (FaultTable::Event& event : batch) event.events |= EPOLLERR;
  });
  EXPECT_TRUE(tcp.until([&] {
    client.receive_for(Duration::zero());
    return tcp.calls.close == 1;
  }));
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::io_error, Errno(EHOSTUNREACH)}));
}

TEST(TcpData, F09_ForgedInputWithoutDataIsNoError) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    tcp.turns(1);
    const std::uint64_t before = tcp.faults.count(Call::recv);
    for (int i = 0; i < 100; ++i) {
      tcp.faults.forge_batch({{channel_of(*tcp.connection()), EPOLLIN}});
      tcp.turns(1);
    }
    EXPECT_EQ(tcp.faults.count(Call::recv), before + 100);
    EXPECT_EQ(tcp.calls.data + tcp.calls.half_close + tcp.calls.close, 0);
    client.send_all("x");
    EXPECT_TRUE(tcp.until([&] { return tcp.received == "x"; }));
  }
}

// --- F18: short transfers ------------------------------------------------------------------------

// Like TcpHarness::collect(), for thousands of short messages: it does not wait between turns. The
// kernel may deliver a turn's bytes some turns later, so only time bounds it.
std::string collect_in_turns(TcpHarness& tcp, TestClient& client, std::size_t n) {
  std::string got;
  const TimePoint end = saturating_add(Clock::now(), kDeadline);
  while (got.size() < n && Clock::now() < end) {
    run_turn(tcp.loop);
    got += client.receive_exactly(n - got.size(), Duration::zero());
  }
  return got;
}

// The first transfer moves i bytes and the second j, for all i and j.
TEST(TcpData, F18_EverySplitPairOfReceivesAndSendsKeepsTheStream) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
    TestClient client = tcp.connect();
    constexpr std::size_t kSize = 64;
    const std::string message = pattern(kSize);
    for (std::size_t i = 1; i < kSize; ++i) {
      for (std::size_t j = 1; j <= kSize - i; ++j) {
        for (const bool sending : {false, true}) {
          tcp.faults.clear();
          const Call call = sending ? Call::send : Call::recv;
          tcp.faults.on(call).nth(1).limit_bytes(i);
          tcp.faults.on(call).nth(2).limit_bytes(j);
          ASSERT_TRUE(client.send_all(message));
          ASSERT_EQ(collect_in_turns(tcp, client, kSize), message)
              << i << " " << j << (sending ? " sending" : " receiving");
        }
      }
    }
  }
}

// The handler leaves every message until it is complete, so receives go behind what is left.
TEST(TcpData, F18_EverySplitPairWithBytesLeftInTheBuffer) {
  for (const Trigger trigger : kTriggers) {
    constexpr std::size_t kSize = 48;
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [](TcpConnection& c, Buffer& in) {
      for (; in.size() >= kSize; in.consume(kSize)) c.send(in.view().substr(0, kSize));
    };
    TestClient client = tcp.connect();
    const std::string message = pattern(kSize);
    for (std::size_t i = 1; i < kSize; ++i) {
      for (std::size_t j = 1; j <= kSize - i; ++j) {
        tcp.faults.clear();
        tcp.faults.on(Call::recv).nth(1).limit_bytes(i);
        tcp.faults.on(Call::recvmsg).nth(1).limit_bytes(j);
        ASSERT_TRUE(client.send_all(message));
        ASSERT_EQ(collect_in_turns(tcp, client, kSize), message) << i << " " << j;
      }
    }
  }
}

TEST(TcpData, F18_RandomShortTransfersOfEveryKindOfSegment) {
  for (const Trigger trigger : kTriggers) {
    std::mt19937 random(18);
    const auto upto = [&](std::size_t n) {
      return std::uniform_int_distribution<std::size_t>(1, n)(random);
    };
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    for (int round = 0; round < 60; ++round) {
      tcp.faults.clear();
      const std::size_t most = round % 2 == 0 ? 100 : 20'000;
      for (const Call call : kSends) {
        for (std::uint64_t n = 1; n <= 12; ++n) {
          if (upto(5) == 1) {
            tcp.faults.on(call).nth(n).fail(upto(2) == 1 ? EAGAIN : EINTR);
          } else {
            tcp.faults.on(call).nth(n).limit_bytes(upto(most));
          }
        }
      }
      std::string expected;
      for (int piece = 0; piece < 8; ++piece) {
        const std::string bytes = pattern(upto(30'000), expected.size());
        switch (upto(3)) {
          case 1:
            tcp.connection()->send(bytes);
            break;
          case 2:
            tcp.connection()->send(SharedBytes::copy(bytes));
            break;
          default:
            tcp.connection()->send_file(file_with(bytes), 0, bytes.size());
        }
        expected += bytes;
      }
      if (trigger == Trigger::edge) {
        // An injected EAGAIN takes away an edge that the kernel never owed; it comes with the next.
        tcp.turns(3);
        tcp.faults.clear();
        tcp.connection()->send("!");
        expected += "!";
      }
      const std::string got = collect_in_turns(tcp, client, expected.size());
      ASSERT_TRUE(got == expected)
          << name(trigger) << " round " << round << ": " << got.size() << " of " << expected.size();
    }
  }
}

// --- F21: a peer that is gone --------------------------------------------------------------------

TEST(TcpData, F21_SendingToAPeerThatIsGoneRaisesNoSignal) {
  struct sigaction standard {};
  struct sigaction before {};
  standard.sa_handler = SIG_DFL;
  ASSERT_EQ(::sigaction(SIGPIPE, &standard, &before), 0);
  for (const std::string& address : {std::string("127.0.0.1:0"), abstract_address("sigpipe")}) {
    for (const int kind : {0, 1, 2}) {
      SCOPED_TRACE(std::string(address) + " " + std::to_string(kind));
      TcpHarness tcp({}, address);
      TestClient client = tcp.connect();
      TcpConnection& c = *tcp.connection();
      c.pause_reading();
      client.close();
      EXPECT_TRUE(tcp.until([&] {
        if (tcp.calls.close > 0) return true;
        if (TcpConnection* gone = tcp.connection()) {
          if (kind == 0) gone->send("x");
          if (kind == 1) {
            gone->send(SharedBytes::copy(pattern(1000)));
            gone->send(SharedBytes::copy(pattern(1000)));
          }
          if (kind == 2) gone->send_file(file_with("bytes"), 0, 5);
        }
        return false;
      }));
      EXPECT_EQ(tcp.reason->kind, Kind::reset);
    }
  }
  ASSERT_EQ(::sigaction(SIGPIPE, &before, nullptr), 0);
}

// --- F23: errors inside the user's call ----------------------------------------------------------

TEST(TcpData, F23_AFailingSendInTheUsersCallIsToldLaterAndOnce) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {EPIPE, ECONNRESET, EHOSTUNREACH, ENETDOWN, ETIMEDOUT, EACCES}) {
      for (const bool in_handler : {false, true}) {
        for (const bool data_behind : {false, true}) {
          SCOPED_TRACE(std::string(name(trigger)) + " " + Errno(error).name() +
                       (in_handler ? " in the handler" : "") + (data_behind ? " with data" : ""));
          TcpHarness tcp({.trigger = trigger});
          TestClient client = tcp.connect();
          bool called = false;
          bool inside = false;
          tcp.on.close = [&](TcpConnection&, CloseReason) { EXPECT_FALSE(inside); };
          const auto fail_a_send = [&](TcpConnection& c) {
            for (const Call call : kSends) tcp.faults.on(call).fail(error);
            inside = true;
            EXPECT_EQ(c.send(pattern(50'000)), SendResult::closed);
            EXPECT_EQ(c.send("small"), SendResult::closed);
            EXPECT_EQ(c.send(SharedBytes::copy("shared")), SendResult::closed);
            c.shutdown();
            c.close();
            inside = false;
            called = true;
            EXPECT_EQ(tcp.calls.close, 0);
          };
          tcp.on.data = [&](TcpConnection& c, Buffer& in) {
            tcp.received += in.take();
            if (in_handler && !called) fail_a_send(c);
          };
          if (in_handler) client.send_all("first ");
          if (in_handler) {
            ASSERT_TRUE(tcp.until([&] { return called; }));
          } else {
            if (data_behind) client.send_all("data");
            fail_a_send(*tcp.connection());
          }
          EXPECT_TRUE(tcp.until_closed());
          tcp.turns(3);
          EXPECT_EQ(tcp.calls.close, 1);
          const bool reset = error == EPIPE || error == ECONNRESET;
          EXPECT_EQ(*tcp.reason, (CloseReason{reset ? Kind::reset : Kind::io_error, Errno(error)}));
          EXPECT_EQ(tcp.calls.blocked + tcp.calls.drained + tcp.calls.half_close, 0);
          EXPECT_EQ(tcp.connection(), nullptr);
        }
      }
    }
  }
}

// A send that fails does not take away what the peer sent before.
TEST(TcpData, F23_WhatThePeerSentBeforeIsStillDelivered) {
  for (const Trigger trigger : kTriggers) {
    for (const std::size_t size : {std::size_t{10}, std::size_t{1'500'000}}) {
      TcpHarness tcp({.trigger = trigger});
      TestClient client = tcp.connect();
      const std::string data = pattern(size);
      const std::size_t sent = client.send_some(data, Duration::zero());
      tcp.faults.on(Call::send).fail(EPIPE);
      tcp.connection()->send(pattern(20'000));
      EXPECT_EQ(tcp.calls.data, 0);
      EXPECT_TRUE(tcp.until_closed());
      EXPECT_EQ(*tcp.reason, (CloseReason{Kind::reset, Errno(EPIPE)}));
      EXPECT_TRUE(tcp.received == data.substr(0, sent)) << tcp.received.size() << " of " << sent;
    }
  }
}

// --- F24: no memory in the kernel ----------------------------------------------------------------

TEST(TcpData, F24_ATransientErrorIsWaitedOut) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {ENOBUFS, ENOMEM}) {
      for (const bool receiving : {false, true}) {
        SCOPED_TRACE(std::string(name(trigger)) + " " + Errno(error).name() +
                     (receiving ? " recv" : " send"));
        TcpHarness tcp({.trigger = trigger});
        tcp.on.data = [&](TcpConnection& c, Buffer& in) {
          c.send(in.view().substr(0, 3));
          c.send(SharedBytes::copy(in.view().substr(3)));
          in.clear();
        };
        TestClient client = tcp.connect();
        for (int i = 0; i < 3; ++i) {
          tcp.faults.clear();
          for (const Call call : kReceives) {
            if (receiving) tcp.faults.on(call).first(2).fail(error);
          }
          for (const Call call : kSends) {
            if (!receiving) tcp.faults.on(call).first(2).fail(error);
          }
          client.send_all("message");
          EXPECT_EQ(tcp.collect(client, 7), "message");
        }
        EXPECT_EQ(tcp.calls.close, 0);
        EXPECT_EQ(tcp.connection()->pending_output(), 0u);
        EXPECT_TRUE(rests(tcp.loop, tcp.faults, 50ms));
      }
    }
  }
}

TEST(TcpData, F24_APersistentErrorNeitherSpinsNorLastsForEver) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {ENOBUFS, ENOMEM}) {
      for (const bool receiving : {false, true}) {
        SCOPED_TRACE(std::string(name(trigger)) + " " + Errno(error).name() +
                     (receiving ? " recv" : " send"));
        TcpHarness tcp({.trigger = trigger});
        TestClient client = tcp.connect();
        for (const Call call : kReceives) {
          if (receiving) tcp.faults.on(call).fail(error);
        }
        for (const Call call : kSends) {
          if (!receiving) tcp.faults.on(call).fail(error);
        }
        if (receiving) {
          client.send_all("never read");
        } else {
          tcp.connection()->send("never sent");
        }
        const Call call = receiving ? Call::recv : Call::send;
        const SpinOracle oracle(tcp.faults);
        run_for(tcp.loop, 100ms);
        const auto tries = static_cast<std::uint64_t>(oracle.elapsed() / 20ms) + 1;
        EXPECT_LE(tcp.faults.count(call), tries);
        EXPECT_LE(oracle.waits(), 3 * tries + 5);
        EXPECT_TRUE(tcp.until([&] {
          tcp.faults.advance_clock(5ms);
          return tcp.calls.close > 0;
        }));
        EXPECT_EQ(*tcp.reason, (CloseReason{Kind::io_error, Errno(error)}));
        EXPECT_LE(tcp.faults.count(call), 60u) << "a second at 50 tries";
      }
    }
  }
}

// A close in the middle of it, too.
TEST(TcpData, F24_ClosingWhileBackingOff) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    tcp.faults.on(Call::send).first(3).fail(ENOBUFS);
    tcp.connection()->send("late");
    tcp.turns(1);
    tcp.connection()->close();
    tcp.turns(1);
    EXPECT_EQ(tcp.connection()->state(), State::closing);
    EXPECT_EQ(tcp.collect_all(client), "late");
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, Kind::local_close);
  }
}

// --- every errno of a receive --------------------------------------------------------------------

TEST(TcpData, F22_EveryErrnoOfAReceiveIsToldAsWhatItIs) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, EIO}) {
      SCOPED_TRACE(std::string(name(trigger)) + " " + Errno(error).name());
      TcpHarness tcp({.trigger = trigger});
      TestClient client = tcp.connect();
      tcp.faults.on(Call::recv).nth(1).fail(EINTR);
      tcp.faults.on(Call::recv).nth(2).fail(error);
      client.send_all("x");
      EXPECT_TRUE(tcp.until_closed());
      const bool reset = error == ECONNRESET || error == EPIPE;
      EXPECT_EQ(*tcp.reason, (CloseReason{reset ? Kind::reset : Kind::io_error, Errno(error)}));
      EXPECT_EQ(tcp.calls.half_close, 0);
      EXPECT_EQ(tcp.calls.close, 1);
    }
  }
}

TEST(TcpData, F16_ARefusedRegistrationEndsOneConnectionOnly) {
  for (const int error : {ENOMEM, ENOSPC, EPERM}) {
    TcpHarness tcp;
    const AllowLog log("watch a connection: epoll_ctl");
    tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
    TestClient good = tcp.connect();
    tcp.turns(1);
    tcp.faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).first(1).fail(error);
    TestClient bad = tcp.connect();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::io_error, Errno(error)}));
    good.send_all("fine");
    EXPECT_EQ(tcp.collect(good, 4), "fine");
    EXPECT_NE(bad.wait_for_end(), TestClient::End::open);
  }
}

// --- F30: more than one call is given ------------------------------------------------------------

constexpr std::size_t kMostOfOneTurn = 1024 * 1024;

// Takes gigabytes without looking at them, and notes how many at once.
class SwallowingTable : public internal::SysTable {
 public:
  std::uint64_t swallowed = 0;
  std::size_t most_bytes = 0;

  ssize_t send(int, const void*, std::size_t size, int) override { return take(size); }
  ssize_t sendmsg(int, const msghdr* message, int) override {
    std::size_t total = 0;
    for (std::size_t i = 0; i < message->msg_iovlen; ++i) total += message->msg_iov[i].iov_len;
    return take(total);
  }
  ssize_t sendfile(int, int, off_t* offset, std::size_t count) override {
    *offset += static_cast<off_t>(count);
    return take(count);
  }

 private:
  ssize_t take(std::size_t size) {
    most_bytes = std::max(most_bytes, size);
    swallowed += size;
    return static_cast<ssize_t>(size);
  }
};

TEST(TcpData, F30_ALargeSendIsCutAndContinued) {
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 40;
  constexpr std::size_t kSize = 64 * kMostOfOneTurn + 64 * 1024;
  // Zeroes that nobody touches: address space, not memory.
  void* const sparse =
      ::mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(sparse, MAP_FAILED);
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .high_water = kLimit, .max_output = kLimit});
    TestClient client = tcp.connect();
    SwallowingTable table;
    const internal::sys::ScopedTable use(&table);
    EXPECT_EQ(tcp.connection()->send({static_cast<const char*>(sparse), kSize}),
              SendResult::queued);
    EXPECT_TRUE(tcp.until([&] { return tcp.connection()->pending_output() == 0; }));
    EXPECT_EQ(table.swallowed, kSize);
    EXPECT_EQ(table.most_bytes, kMostOfOneTurn);
    EXPECT_EQ(tcp.connection()->bytes_out(), kSize);
  }
  ::munmap(sparse, kSize);
}

TEST(TcpData, F30_AFileOfManyGigabytesGoesOutInPieces) {
  constexpr std::uint64_t kSize = std::uint64_t{5} << 30;
  TcpHarness tcp;
  TestClient client = tcp.connect();
  SwallowingTable table;
  const internal::sys::ScopedTable use(&table);
  Fd file = file_with("");
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(kSize)), 0);
  EXPECT_EQ(tcp.connection()->send_file(std::move(file), 0, kSize), SendResult::above_high_mark);
  EXPECT_TRUE(tcp.until([&] { return tcp.connection()->pending_output() == 0; }));
  EXPECT_EQ(table.swallowed, kSize);
  EXPECT_EQ(table.most_bytes, kMostOfOneTurn);
  EXPECT_EQ(tcp.connection()->bytes_out(), kSize);
}

TEST(TcpData, F30_MoreSegmentsThanOneCallTakes) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger, .max_output = 64 * 1024 * 1024});
    TestClient client = tcp.connect();
    const std::string piece = pattern(1000);
    const SharedBytes shared = SharedBytes::copy(piece);
    constexpr std::size_t kPieces = 5000;
    for (std::size_t i = 0; i < kPieces; ++i)
      tcp.connection()->send(shared.slice(0, 200 + i % 800));
    std::string expected;
    for (std::size_t i = 0; i < kPieces; ++i) expected += piece.substr(0, 200 + i % 800);
    EXPECT_TRUE(tcp.collect(client, expected.size()) == expected);
  }
}

}  // namespace
}  // namespace weir::test
