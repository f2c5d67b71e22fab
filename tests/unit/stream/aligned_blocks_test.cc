// Every block that the kernel copies into or out of begins at a cache line (base/aligned_bytes.h).
#include <gtest/gtest.h>

#include <string>

#include "support/alignment.h"
#include "support/tcp_harness.h"
#include "weir/base/aligned_bytes.h"
#include "weir/net/stream/internal/loop_buffers.h"

namespace weir::test {
namespace {

using internal::kCacheLine;
using internal::kPage;

TEST(AlignedBlocks, InputIsReadToTheBeginningOfAPage) {
  TcpHarness tcp;
  tcp.on.data = [](TcpConnection&, Buffer& in) {
    EXPECT_EQ(beyond_multiple_of(kPage, in.data()), 0u);
    in.clear();
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("hello"));
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
}

TEST(AlignedBlocks, InputThatIsLeftIsKeptAtACacheLine) {
  TcpHarness tcp;
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    if (tcp.calls.data > 1) {
      EXPECT_EQ(beyond_multiple_of(kCacheLine, in.data()), 0u);
    }
  };
  TestClient client = tcp.connect();
  for (int i = 1; i < 20; ++i) {
    ASSERT_TRUE(client.send_all(pattern(1000)));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data >= i; }));
  }
}

TEST(AlignedBlocks, AnswersAreGatheredAtACacheLine) {
  EventLoop loop;
  EXPECT_EQ(beyond_multiple_of(kCacheLine, loop.local<internal::LoopIo>().gather.get()), 0u);
}

}  // namespace
}  // namespace weir::test
