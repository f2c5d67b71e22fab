#include "weir/base/aligned_bytes.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "support/alignment.h"
#include "support/allocations.h"

namespace weir {
namespace {

using internal::AlignedBytes;
using internal::kCacheLine;
using internal::kPage;
using internal::make_aligned_bytes;
using test::beyond_multiple_of;

TEST(AlignedBytes, BeginAtACacheLine) {
  const test::HeapCheck nothing_left;
  std::vector<AlignedBytes> blocks;
  for (std::size_t size = 1; size < 600'000; size = size * 3 + 1) {
    AlignedBytes block = make_aligned_bytes(size);
    EXPECT_EQ(beyond_multiple_of(kCacheLine, block.get()), 0u) << size;
    std::memset(block.get(), 0xA5, size);
    blocks.push_back(std::move(block));
  }
}

TEST(AlignedBytes, BeginAtAPage) {
  const test::HeapCheck nothing_left;
  for (const std::size_t size : {1ul, 4096ul, 512 * 1024ul}) {
    const AlignedBytes block = make_aligned_bytes(size, kPage);
    EXPECT_EQ(beyond_multiple_of(kPage, block.get()), 0u) << size;
  }
}

// Memory that comes and goes must not be new memory each time, or a server grows.
TEST(AlignedBytes, SmallBlocksAreTheOnesThatWereGivenBack) {
  if (!test::AllocationCount::available()) GTEST_SKIP() << "sanitizers keep freed memory";
  int reused = 0;
  for (std::size_t size = 1; size <= 900; ++size) {
    const std::byte* const before = make_aligned_bytes(size).get();
    if (make_aligned_bytes(size).get() == before) ++reused;
  }
  EXPECT_GE(reused, 850);
}

TEST(AlignedBytes, AreCountedAsAllocations) {
  if (!test::AllocationCount::available()) GTEST_SKIP() << "the sanitizer's operator new is in use";
  const test::AllocationCount count;
  const AlignedBytes block = make_aligned_bytes(100);
  EXPECT_EQ(count.on_this_thread(), 1u);
}

}  // namespace
}  // namespace weir
