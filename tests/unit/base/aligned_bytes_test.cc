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

TEST(AlignedBytes, AreCountedAsAllocations) {
  if (!test::AllocationCount::available()) GTEST_SKIP() << "the sanitizer's operator new is in use";
  const test::AllocationCount count;
  const AlignedBytes block = make_aligned_bytes(100);
  EXPECT_EQ(count.on_this_thread(), 1u);
}

}  // namespace
}  // namespace weir
