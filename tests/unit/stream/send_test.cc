// From send() to the peer: what it answers, in which order things leave, water marks, bounds.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/tcp_harness.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;

// So that output waits after a few kilobytes, and the peer's after a hundred.
void shrink_buffers(const TcpConnection& c) {
  shrink_send_buffer(c);
  const int input = 64 * 1024;
  ASSERT_EQ(::setsockopt(c.fd(), SOL_SOCKET, SO_RCVBUF, &input, sizeof(input)), 0);
}

// A connection whose peer does not read, with a few KiB of room in the kernel.
struct Stuffed {
  TcpHarness tcp;
  TestClient client;

  explicit Stuffed(TcpServer::Options options) : tcp(options) {
    tcp.on.open = [](TcpConnection& c) { shrink_buffers(c); };
    client = tcp.connect(64 * 1024, 4096);
  }
  TcpConnection& connection() { return *tcp.connection(); }
};

TEST(TcpSend, EveryFormArrivesInOrder) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    std::string expected;
    const std::string large = pattern(100'000);
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.clear();
      const std::string bytes = pattern(30);
      Buffer buffer("a buffer");
      EXPECT_EQ(c.send("text "), SendResult::queued);
      EXPECT_EQ(c.send(std::as_bytes(std::span(bytes))), SendResult::queued);
      EXPECT_EQ(c.send(buffer), SendResult::queued);
      EXPECT_TRUE(buffer.empty());
      EXPECT_EQ(c.send(SharedBytes::copy("shared")), SendResult::queued);
      EXPECT_EQ(c.send(" more "), SendResult::queued);
      EXPECT_EQ(c.send_file(file_with("0123456789"), 2, 5), SendResult::queued);
      EXPECT_EQ(c.send(large), SendResult::queued);
      EXPECT_EQ(c.send("end"), SendResult::queued);
      expected = "text " + bytes + "a buffershared more 23456" + large + "end";
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("go"));
    const std::string got = tcp.collect(client, 5 + 30 + 8 + 6 + 6 + 5 + large.size() + 3);
    EXPECT_TRUE(got == expected);
    EXPECT_EQ(tcp.connection()->bytes_out(), expected.size());
    EXPECT_EQ(tcp.connection()->bytes_in(), 2u);
    EXPECT_EQ(tcp.connection()->pending_output(), 0u);
    EXPECT_EQ(tcp.server->stats().bytes_out, expected.size());
  }
}

TEST(TcpSend, MixedSizesInOneHandlerKeepTheirOrder) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    const std::vector<std::size_t> sizes = {1, 64, 16'383, 16'384, 3, 65'536, 70'000, 1, 40'000, 5};
    std::size_t total = 0;
    for (const std::size_t size : sizes) total += size;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.clear();
      std::size_t at = 0;
      for (const std::size_t size : sizes) {
        EXPECT_EQ(c.send(pattern(size, at)), SendResult::queued);
        at += size;
      }
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("go"));
    EXPECT_TRUE(tcp.collect(client, total) == pattern(total));
  }
}

TEST(TcpSend, NothingIsSentForNothing) {
  TcpHarness tcp;
  tcp.on.data = [](TcpConnection& c, Buffer& in) {
    in.clear();
    Buffer empty;
    EXPECT_EQ(c.send(std::string_view()), SendResult::queued);
    EXPECT_EQ(c.send(std::span<const std::byte>()), SendResult::queued);
    EXPECT_EQ(c.send(empty), SendResult::queued);
    EXPECT_EQ(c.send(SharedBytes()), SendResult::queued);
    EXPECT_EQ(c.send_file(file_with("x"), 0, 0), SendResult::queued);
    c.close();
    EXPECT_EQ(c.send(std::string_view()), SendResult::closed);
  };
  TestClient client = tcp.connect();
  EXPECT_TRUE(tcp.ref().send(std::string_view()));
  tcp.turns(2);
  EXPECT_EQ(tcp.faults.count(Call::send) + tcp.faults.count(Call::sendmsg), 0u);
  ASSERT_TRUE(client.send_all("go"));
  EXPECT_EQ(tcp.collect_all(client), "");
  EXPECT_EQ(client.ended(), TestClient::End::eof);
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::local_close);
}

TEST(TcpSend, AnswersClosedOnceOutputHasEnded) {
  TcpHarness tcp({.allow_half_open = true});
  tcp.on.data = [](TcpConnection& c, Buffer& in) {
    if (in.take() == "s") {
      EXPECT_EQ(c.send("last"), SendResult::queued);
      c.shutdown();
    } else {
      c.abort();
    }
    EXPECT_EQ(c.send("x"), SendResult::closed);
    EXPECT_EQ(c.send(SharedBytes::copy("x")), SendResult::closed);
    EXPECT_EQ(c.send_file(file_with("x"), 0, 1), SendResult::closed);
  };
  tcp.on.close = [](TcpConnection& c, CloseReason) {
    EXPECT_EQ(c.send("x"), SendResult::closed);
    EXPECT_EQ(c.state(), TcpConnection::State::closed);
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("s"));
  EXPECT_EQ(tcp.collect_all(client), "last");
  ASSERT_TRUE(client.send_all("a"));
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::aborted);
  EXPECT_FALSE(tcp.ref().send("x"));
}

TEST(TcpSend, WaterMarksAreToldInPairs) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Stuffed s({.trigger = trigger, .high_water = 64 * 1024, .max_output = 1024 * 1024});
    s.tcp.on.blocked = [](TcpConnection& c) { EXPECT_GE(c.pending_output(), 64u * 1024); };
    s.tcp.on.drained = [](TcpConnection& c) { EXPECT_LE(c.pending_output(), 32u * 1024); };
    constexpr int kRounds = 3;
    constexpr std::size_t kSize = 300 * 1024;
    for (int round = 1; round <= kRounds; ++round) {
      EXPECT_EQ(s.connection().send(pattern(kSize)), SendResult::above_high_mark);
      ASSERT_TRUE(s.tcp.until([&] { return s.tcp.calls.blocked == round; }));
      EXPECT_EQ(s.connection().send("still taken"), SendResult::above_high_mark);
      EXPECT_EQ(s.tcp.calls.drained, round - 1);
      EXPECT_EQ(s.tcp.collect(s.client, kSize + 11).size(), kSize + 11);
      ASSERT_TRUE(s.tcp.until([&] { return s.tcp.calls.drained == round; }));
    }
    EXPECT_EQ(s.tcp.calls.blocked, kRounds);
    EXPECT_EQ(s.connection().pending_output(), 0u);
  }
}

// "on_drained follows every send() that said above_high_mark", also when the kernel then takes all
// of it before on_blocked was due.
TEST(TcpSend, AboveTheHighMarkIsAlwaysFollowedByDrained) {
  TcpHarness tcp({.high_water = 1000});
  TestClient client = tcp.connect();
  EXPECT_EQ(tcp.connection()->send(pattern(999)), SendResult::queued);
  EXPECT_EQ(tcp.connection()->send("x"), SendResult::above_high_mark);
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.drained == 1; }));
  EXPECT_EQ(tcp.collect(client, 1000).size(), 1000u);
  EXPECT_EQ(tcp.calls.drained, 1);
}

// A generator: on_drained fills the output again. Its input is still read, and its end noticed.
TEST(TcpSend, AHandlerThatRefillsInOnDrainedIsReadToo) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = 64 * 1024});
    const auto generate = [](TcpConnection& c) {
      while (c.send(std::string(8000, 'g')) == SendResult::queued) {
      }
    };
    tcp.on.open = generate;
    tcp.on.drained = generate;
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("stop"));
    EXPECT_TRUE(tcp.until([&] {
      client.receive_exactly(1 << 20, Duration::zero());
      return tcp.received == "stop";
    }));
    client.shutdown_write();
    tcp.collect_all(client);
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, Kind::peer_eof);
    EXPECT_LE(tcp.calls.blocked, tcp.calls.drained + 1);
  }
}

TEST(TcpSend, OverflowCloseResets) {
  Stuffed s({.high_water = 16 * 1024, .max_output = 128 * 1024});
  EXPECT_EQ(s.connection().send(pattern(120 * 1024)), SendResult::above_high_mark);
  EXPECT_EQ(s.connection().send(pattern(100 * 1024)), SendResult::closed);
  EXPECT_EQ(s.tcp.calls.close, 0) << "told from inside the call";
  EXPECT_TRUE(s.tcp.until_closed());
  EXPECT_EQ(*s.tcp.reason, (CloseReason{Kind::output_overflow, Errno(ENOBUFS)}));
  EXPECT_EQ(s.client.wait_for_end(), TestClient::End::reset);
  EXPECT_EQ(s.tcp.server->stats().closed_by(Kind::output_overflow), 1u);
}

// A message that finds nothing waiting is accepted whole, in all its forms: its sender has it in
// memory anyhow. What comes behind it overflows.
TEST(TcpSend, OneMessageMayBeLargerThanMaxOutput) {
  constexpr std::size_t kMax = 64 * 1024;
  const std::string message = pattern(20 * kMax);
  const std::vector<std::function<SendResult(TcpConnection&)>> forms = {
      [&](TcpConnection& c) { return c.send(message); },
      [&](TcpConnection& c) {
        Buffer buffer(message);
        return c.send(buffer);
      },
      [&](TcpConnection& c) { return c.send(SharedBytes::copy(message)); },
  };
  for (const Overflow overflow : {Overflow::close, Overflow::drop, Overflow::pause}) {
    for (const auto& send : forms) {
      Stuffed s({.high_water = 16 * 1024, .max_output = kMax, .overflow = overflow});
      ASSERT_EQ(send(s.connection()), SendResult::above_high_mark);
      s.tcp.turns(2);
      EXPECT_EQ(s.connection().send("x"),
                overflow == Overflow::close ? SendResult::closed : SendResult::dropped);
      if (overflow == Overflow::close) continue;
      EXPECT_TRUE(s.tcp.collect(s.client, message.size()) == message);
      EXPECT_EQ(s.connection().send("more"), SendResult::queued);
      EXPECT_EQ(s.tcp.collect(s.client, 4), "more");
    }
  }
}

// Also behind a head that the handler has just sent.
TEST(TcpSend, AHeadIsNothingThatWaits) {
  TcpHarness tcp({.high_water = 16 * 1024, .max_output = 64 * 1024});
  const std::string body = pattern(2'000'000);
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    in.clear();
    EXPECT_EQ(c.send("head "), SendResult::queued);
    EXPECT_NE(c.send(body), SendResult::closed);
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("go"));
  EXPECT_TRUE(tcp.collect(client, 5 + body.size()) == "head " + body);
}

// A file system without sendfile(2), or one that refuses it in the middle of a file.
TEST(TcpSend, AFileIsReadWhereSendfileIsRefused) {
  for (const Trigger trigger : kTriggers) {
    for (const int error : {EINVAL, ENOSYS, EOPNOTSUPP}) {
      for (const std::uint64_t from : {1u, 2u}) {
        SCOPED_TRACE(testing::Message() << name(trigger) << " " << error << " from " << from);
        TcpHarness tcp({.trigger = trigger});
        tcp.faults.on(Call::sendfile).first(1).limit_bytes(100'000);
        tcp.faults.on(Call::sendfile).from(from).fail(error);
        const std::string bytes = pattern(500'000);
        TestClient client = tcp.connect();
        EXPECT_EQ(tcp.connection()->send("before "), SendResult::queued);
        EXPECT_EQ(tcp.connection()->send_file(file_with(bytes), 1000, 400'000), SendResult::queued);
        EXPECT_EQ(tcp.connection()->send(" behind"), SendResult::queued);
        EXPECT_TRUE(tcp.collect(client, 400'014) ==
                    "before " + bytes.substr(1000, 400'000) + " behind");
        EXPECT_GE(tcp.faults.count(Call::pread), 300'000u / (64 * 1024));
      }
    }
  }
}

TEST(TcpSend, AFileThatCannotBeReadEndsTheConnection) {
  TcpHarness tcp;
  tcp.faults.on(Call::sendfile).fail(EINVAL);
  tcp.faults.on(Call::pread).fail(EISDIR);
  TestClient client = tcp.connect();
  tcp.connection()->send_file(file_with("something"), 0, 9);
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::io_error, Errno(EISDIR)}));
  EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

TEST(TcpSend, OverflowDropLeavesOutWholeMessages) {
  Stuffed s({.high_water = 16 * 1024, .max_output = 64 * 1024, .overflow = Overflow::drop});
  std::string expected;
  int dropped = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string message(1000, static_cast<char>('a' + i % 26));
    const SendResult result = s.connection().send(message);
    ASSERT_NE(result, SendResult::closed);
    if (result == SendResult::dropped) {
      ++dropped;
    } else {
      expected += message;
    }
    ASSERT_LE(s.connection().pending_output(), 64u * 1024);
  }
  EXPECT_GT(dropped, 100);
  EXPECT_TRUE(s.tcp.collect(s.client, expected.size()) == expected);
  EXPECT_EQ(s.connection().send("again"), SendResult::queued);
  EXPECT_EQ(s.tcp.collect(s.client, 5), "again");
}

// A relay: what the producer sends goes to a slow consumer. The producer is not read while the
// consumer is over its bound, and nothing is lost.
TEST(TcpSend, OverflowPauseHoldsTheProducer) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    constexpr std::uint64_t kMax = 64 * 1024;
    constexpr std::size_t kTotal = 4 * 1024 * 1024;
    TcpHarness tcp({.trigger = trigger,
                    .high_water = 32 * 1024,
                    .max_output = kMax,
                    .overflow = Overflow::pause});
    tcp.on.open = [](TcpConnection& c) { shrink_buffers(c); };
    TestClient slow = tcp.connect(0, 4096);
    const ConnectionRef consumer = tcp.ref();
    TestClient producer = tcp.connect();
    std::uint64_t most = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      ASSERT_NE(c.ref(), consumer);
      ASSERT_NE(consumer.get()->send(in), SendResult::dropped);
      most = std::max(most, consumer.get()->pending_output());
    };
    const std::string data = pattern(kTotal);
    std::size_t sent = 0;
    std::string got;
    const auto produce = [&] {
      sent += producer.send_some(std::string_view(data).substr(sent), Duration::zero());
    };
    produce();
    tcp.turns(50);
    const std::uint64_t held = consumer.get()->pending_output();
    produce();
    tcp.turns(50);
    EXPECT_EQ(consumer.get()->pending_output(), held) << "the producer was read on";
    EXPECT_TRUE(tcp.until([&] {
      produce();
      got += slow.receive_exactly(kTotal - got.size(), Duration::zero());
      return got.size() == kTotal;
    }));
    EXPECT_TRUE(got == data);
    EXPECT_LE(most, kMax + 32 * 1024) << "one read of the producer above the bound";
    // A send that comes from no connection's handler cannot be held.
    EXPECT_EQ(consumer.get()->send(pattern(100 * 1024)), SendResult::above_high_mark);
    EXPECT_EQ(consumer.get()->send(pattern(100 * 1024)), SendResult::dropped);
  }
}

TEST(TcpSend, AHeldProducerGoesOnWhenItsConsumerEnds) {
  TcpHarness tcp({.high_water = 8 * 1024, .max_output = 16 * 1024, .overflow = Overflow::pause});
  tcp.on.open = [](TcpConnection& c) { shrink_buffers(c); };
  TestClient slow = tcp.connect(0, 4096);
  const ConnectionRef consumer = tcp.ref();
  TestClient producer = tcp.connect();
  std::size_t taken = 0;
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    taken += in.size();
    if (TcpConnection* to = consumer.get()) to->send(in);
    in.clear();
  };
  const std::string data = pattern(256 * 1024);
  const std::size_t first = producer.send_some(data, Duration::zero());
  tcp.turns(30);
  ASSERT_LT(taken, first);
  slow.reset();
  EXPECT_TRUE(tcp.until([&] { return taken == first; }));
}

// An echo to a peer that does not read stops reading instead of buffering.
TEST(TcpSend, AnEchoHoldsNoMoreThanTheHighMark) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    constexpr std::uint64_t kHigh = 50'000;
    constexpr std::size_t kTotal = 3'000'000;
    Stuffed s({.trigger = trigger, .high_water = kHigh});
    std::uint64_t most = 0;
    s.tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      c.send(in);
      most = std::max(most, c.pending_output());
    };
    const std::string data = pattern(kTotal);
    std::size_t sent = 0;
    const auto produce = [&] {
      sent += s.client.send_some(std::string_view(data).substr(sent), Duration::zero());
    };
    for (int i = 0; i < 20; ++i) {
      produce();
      s.tcp.turns(10);
    }
    EXPECT_LT(sent, kTotal) << "the back-pressure did not reach the client";
    std::string got;
    EXPECT_TRUE(s.tcp.until([&] {
      produce();
      got += s.client.receive_exactly(kTotal - got.size(), Duration::zero());
      return got.size() == kTotal;
    }));
    EXPECT_TRUE(got == data);
    EXPECT_LE(most, kHigh);
    EXPECT_GT(s.tcp.calls.blocked, 0);
    EXPECT_EQ(s.tcp.calls.blocked, s.tcp.calls.drained);
  }
}

TEST(TcpSend, AFileThatEndsEarlyEndsTheConnection) {
  for (const bool then_close : {false, true}) {
    SCOPED_TRACE(then_close);
    TcpHarness tcp;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      in.clear();
      c.send("head ");
      c.send_file(file_with("short"), 0, 1000);
      if (then_close) c.close();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("go"));
    EXPECT_EQ(tcp.collect_all(client), "head short");
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::io_error, Errno(EIO)}));
  }
}

TEST(TcpSend, ALargeFileGoesOutWhileTheReaderIsSlow) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    const std::string data = pattern(2'000'000);
    Stuffed s({.trigger = trigger});
    EXPECT_NE(s.connection().send("head"), SendResult::closed);
    EXPECT_EQ(s.connection().send_file(file_with(data), 0, data.size()),
              SendResult::above_high_mark);
    EXPECT_EQ(s.connection().send("tail"), SendResult::above_high_mark);
    s.connection().close();
    const std::string got = s.tcp.collect_all(s.client);
    EXPECT_TRUE(got == "head" + data + "tail");
    s.client.close();
    EXPECT_TRUE(s.tcp.until_closed());
    EXPECT_EQ(s.tcp.reason->kind, Kind::local_close);
  }
}

// One encoded message, many receivers: shared while it waits, freed when all are served.
TEST(TcpSend, ABroadcastIsSharedNotCopied) {
  TcpHarness tcp;
  tcp.on.open = [](TcpConnection& c) { shrink_buffers(c); };
  std::vector<TestClient> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(tcp.connect(0, 4096));
  const std::string text = pattern(200'000);
  const SharedBytes message = SharedBytes::copy(text);
  for (const ConnectionRef& ref : tcp.refs) EXPECT_TRUE(ref.send(message));
  tcp.turns(2);
  EXPECT_EQ(message.use_count(), 1 + clients.size());
  clients.front().reset();
  for (std::size_t i = 1; i < clients.size(); ++i) {
    EXPECT_TRUE(tcp.collect(clients[i], text.size()) == text);
  }
  EXPECT_TRUE(tcp.until([&] { return message.use_count() == 1; }));
}

}  // namespace
}  // namespace weir::test
