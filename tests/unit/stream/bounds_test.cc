// Bounds that once did not hold, or held for the wrong thing.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "support/spin_oracle.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

Fd memory_file(std::uint64_t size) {
  Fd file(::memfd_create("weir-test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
  return file;
}

TEST(TcpBounds, AServerThatWaitsForThePeersFinRests) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    bool stopped = false;
    tcp.server->shutdown(std::chrono::seconds(5), [&] { stopped = true; });
    ASSERT_TRUE(
        tcp.until([&] { return tcp.connection()->state() == TcpConnection::State::lingering; }));
    EXPECT_TRUE(rests(tcp.loop, tcp.faults));
    client.close();
    EXPECT_TRUE(tcp.until([&] { return stopped; }));
    EXPECT_EQ(tcp.reason->kind, CloseReason::Kind::server_stopped);
  }
}

TEST(TcpBounds, AFileLargerThanMaxOutputLeavesRoomForWhatFollows) {
  constexpr std::uint64_t kSize = 8 * 1024 * 1024;
  TcpHarness tcp;  // max_output is 4 MiB
  tcp.on.data = [](TcpConnection& c, Buffer& in) {
    in.clear();
    EXPECT_EQ(c.send_file(memory_file(kSize), 0, kSize), SendResult::above_high_mark);
    EXPECT_EQ(c.send("end"), SendResult::above_high_mark);
    c.close();
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("go"));
  EXPECT_TRUE(tcp.collect_all(client) == std::string(kSize, '\0') + "end");
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, CloseReason::Kind::local_close);
}

// Each holds a descriptor, however short it is.
TEST(TcpBounds, ManyTinyFilesCountAsTheHighMark) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    std::vector<std::size_t> at_once;  // files until the mark, for each call
    std::size_t sent = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      at_once.push_back(0);
      while (!in.empty() && c.reading()) {
        const SendResult result = c.send_file(memory_file(1), 0, 1);
        in.consume(1);
        ++sent;
        EXPECT_EQ(result, ++at_once.back() < 16 ? SendResult::queued : SendResult::above_high_mark);
      }
      if (!in.empty()) c.redeliver_input();
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all(std::string(100, 'x')));
    EXPECT_EQ(tcp.collect(client, 100), std::string(100, '\0'));
    EXPECT_EQ(sent, 100u);
    EXPECT_LE(*std::ranges::max_element(at_once), 16u);
    EXPECT_GE(at_once.size(), 7u);
  }
}

// Each costs a segment, whatever it carries.
TEST(TcpBounds, TinySharedMessagesAreCountedWithTheirSegments) {
  constexpr std::uint64_t kMax = 64 * 1024;
  TcpHarness tcp({.high_water = kMax, .max_output = kMax, .overflow = Overflow::drop});
  TestClient client = tcp.connect();
  const SharedBytes byte = SharedBytes::copy("x");
  std::uint64_t taken = 0;
  while (taken < kMax && tcp.connection()->send(byte) != SendResult::dropped) ++taken;
  EXPECT_GE(taken, kMax / 128);
  EXPECT_LE(taken, kMax / 64);
  EXPECT_EQ(tcp.collect(client, taken), std::string(taken, 'x'));
}

// Reading stops in time also where what holds the bytes reaches max_output before the bytes do.
TEST(TcpBounds, AnEchoIsNeverResetByItsOwnBound) {
  constexpr std::uint64_t kMax = 64 * 1024;
  constexpr std::size_t kTotal = 8'000'000;
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = kMax, .max_output = kMax});
    std::uint64_t most = 0;
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      c.send(in);
      most = std::max(most, c.pending_output());
    };
    TestClient client = tcp.connect(0, 4096);
    const std::string data = pattern(kTotal);
    std::size_t sent = 0;
    const auto produce = [&] {
      sent += client.send_some(std::string_view(data).substr(sent), Duration::zero());
    };
    for (int i = 0; i < 50; ++i) {
      produce();
      tcp.turns(10);
    }
    EXPECT_EQ(tcp.calls.close, 0);
    EXPECT_GT(most, kMax / 2);
    EXPECT_LE(most, kMax);
    EXPECT_GT(tcp.calls.blocked, 0);
    EXPECT_TRUE(rests(tcp.loop, tcp.faults, std::chrono::milliseconds(100)));
    std::string got;
    EXPECT_TRUE(tcp.until([&] {
      produce();
      got += client.receive_exactly(kTotal - got.size(), Duration::zero());
      return got.size() == kTotal || tcp.calls.close > 0;
    }));
    EXPECT_TRUE(got == data);
  }
}

}  // namespace
}  // namespace weir::test
