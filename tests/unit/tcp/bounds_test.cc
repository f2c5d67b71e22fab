// Bounds that once did not hold, or held for the wrong thing.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <string>

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

}  // namespace
}  // namespace weir::test
