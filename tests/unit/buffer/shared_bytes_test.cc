#include "weir/net/buffer/shared_bytes.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace weir {
namespace {

TEST(SharedBytes, EmptyHoldsNothing) {
  const SharedBytes none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.view(), "");
  EXPECT_EQ(none.use_count(), 0U);
  EXPECT_EQ(SharedBytes::copy("").use_count(), 0U);
}

TEST(SharedBytes, CopiesTheBytesOnceAndSharesThem) {
  std::string text = "a message";
  const SharedBytes a = SharedBytes::copy(text);
  text.assign(text.size(), '#');
  EXPECT_EQ(a.view(), "a message");
  const SharedBytes b = a;
  EXPECT_EQ(b.data(), a.data());
  EXPECT_EQ(a.use_count(), 2U);
}

TEST(SharedBytes, MoveAndAssign) {
  SharedBytes a = SharedBytes::copy("one");
  SharedBytes b(std::move(a));
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(a.use_count(), 0U);
  EXPECT_EQ(b.use_count(), 1U);
  SharedBytes c = SharedBytes::copy("two");
  c = b;
  EXPECT_EQ(c.view(), "one");
  EXPECT_EQ(b.use_count(), 2U);
  const SharedBytes& same = c;
  c = same;
  EXPECT_EQ(c.view(), "one");
  EXPECT_EQ(b.use_count(), 2U);
  c = SharedBytes();
  EXPECT_EQ(b.use_count(), 1U);
}

TEST(SharedBytes, SlicesShareAndAreCutToWhatThereIs) {
  const SharedBytes all = SharedBytes::copy("0123456789");
  constexpr std::size_t kHuge = static_cast<std::size_t>(-1);
  EXPECT_EQ(all.slice(0).view(), "0123456789");
  EXPECT_EQ(all.slice(3, 4).view(), "3456");
  EXPECT_EQ(all.slice(3, 4).slice(1, 2).view(), "45");
  EXPECT_EQ(all.slice(8, 100).view(), "89");
  EXPECT_EQ(all.slice(8, kHuge).view(), "89");
  EXPECT_EQ(all.slice(10).view(), "");
  EXPECT_EQ(all.slice(kHuge, kHuge).view(), "");
  const SharedBytes part = all.slice(5);
  EXPECT_EQ(all.use_count(), 2U);
  const SharedBytes nothing = all.slice(5, 0);
  EXPECT_EQ(nothing.use_count(), 0U) << "an empty slice keeps no memory alive";
}

TEST(SharedBytes, TheLastSliceFreesTheMemory) {
  SharedBytes part;
  {
    const SharedBytes all = SharedBytes::copy(std::string(100'000, 'x'));
    part = all.slice(99'999);
  }
  EXPECT_EQ(part.use_count(), 1U);
  EXPECT_EQ(part.view(), "x");
}

TEST(SharedBytes, ThreadsShareAndDropWithoutARace) {
  for (int round = 0; round < 50; ++round) {
    SharedBytes message = SharedBytes::copy("broadcast to many");
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([copy = message] {
        std::vector<SharedBytes> queued;
        for (int i = 0; i < 200; ++i) queued.push_back(copy.slice(static_cast<std::size_t>(i % 9)));
        for (const SharedBytes& slice : queued) EXPECT_EQ(slice.view().back(), 'y');
      });
    }
    message = SharedBytes();  // whoever is last frees it
  }
}

}  // namespace
}  // namespace weir
