// Memory of buffers begins at a cache line, whatever its size (base/aligned_bytes.h).
#include <gtest/gtest.h>
#include <sys/uio.h>

#include <array>
#include <string>
#include <vector>

#include "support/alignment.h"
#include "weir/base/aligned_bytes.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/buffer/shared_bytes.h"

namespace weir {
namespace {

using internal::kCacheLine;
using test::beyond_multiple_of;

TEST(AlignedBlocks, OfABuffer) {
  for (std::size_t size = 1; size < 1'000'000; size = size * 2 + 1) {
    Buffer buffer;
    buffer.append(std::string(size, 'x'));
    EXPECT_EQ(beyond_multiple_of(kCacheLine, buffer.data()), 0u) << size;
    EXPECT_EQ(beyond_multiple_of(kCacheLine, Buffer().prepare(size).data()), 0u) << size;
  }
}

TEST(AlignedBlocks, OfSharedBytes) {
  for (std::size_t size = 1; size < 1'000'000; size = size * 2 + 1) {
    const SharedBytes shared = SharedBytes::copy(std::string(size, 'x'));
    EXPECT_EQ(beyond_multiple_of(kCacheLine, shared.data()), 0u) << size;
  }
}

// Each size of block that a queue takes, from the heap and again from its cache.
TEST(AlignedBlocks, OfAnOutputQueue) {
  for (int round = 0; round < 2; ++round) {
    for (std::size_t size = 1; size < 1'000'000; size = size * 2 + 1) {
      OutputQueue queue;
      queue.append(std::string_view("a block of its own after what is shared"));
      queue.append(SharedBytes::copy(std::string(5000, 's')));
      queue.append(std::string_view(std::string(size, 'x')));
      queue.append(std::string_view(std::string(200'000, 'y')));
      std::array<iovec, 16> vectors{};
      const std::size_t filled = queue.fill(vectors);
      EXPECT_GE(filled, 3u);
      for (std::size_t i = 0; i < filled; ++i) {
        EXPECT_EQ(beyond_multiple_of(kCacheLine, vectors[i].iov_base), 0u) << size << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace weir
