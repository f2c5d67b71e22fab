#include "weir/net/udp/internal/datagram_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "support/allocations.h"
#include "support/sockets.h"

namespace weir::test {
namespace {

using internal::DatagramQueue;
using internal::Outgoing;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(DatagramQueue, KeepsEverythingInOrder) {
  DatagramQueue queue;
  const SocketAddress to = SocketAddress::loopback_ipv6(7);
  const std::string info = "twelve bytes";
  queue.push({.to = to, .number = 1}, bytes_of("first"));
  queue.push({.to = {}, .number = 2}, {});
  queue.push({.to = to, .info = info.data(), .info_size = 12, .number = 3}, bytes_of("third"));
  EXPECT_EQ(queue.count(), 3u);

  std::vector<std::string> seen;
  queue.look([&](const Outgoing& out, std::span<const std::byte> bytes) {
    seen.push_back(text_of(bytes));
    EXPECT_EQ(out.number, seen.size());
    EXPECT_EQ(out.to.empty(), seen.size() == 2);
    if (!out.to.empty()) {
      EXPECT_EQ(out.to.copy(), to);
    }
    EXPECT_EQ(out.info_size, seen.size() == 3 ? 12u : 0u);
    if (out.info_size > 0) {
      EXPECT_EQ(std::memcmp(out.info, info.data(), 12), 0);
    }
    return true;
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"first", "", "third"}));
  queue.pop(1);
  queue.look([&](const Outgoing& out, std::span<const std::byte>) {
    EXPECT_EQ(out.number, 2u);
    return false;
  });
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(DatagramQueue, BehavesLikeAQueueOfStrings) {
  std::mt19937 random(7);
  DatagramQueue queue;
  std::deque<std::string> model;
  const SocketAddress to = SocketAddress::loopback_ipv4(9);
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 100 < (i / 5000 % 2 == 0 ? 60 : 40)) {
      const std::string text(random() % 300, static_cast<char>('a' + i % 26));
      queue.push({.to = to}, bytes_of(text));
      model.push_back(text);
    } else if (!model.empty()) {
      const std::size_t count = std::min<std::size_t>(model.size(), random() % 4);
      queue.pop(count);
      model.erase(model.begin(), model.begin() + static_cast<std::ptrdiff_t>(count));
    }
    ASSERT_EQ(queue.count(), model.size());
    if (model.empty()) continue;
    queue.look([&](const Outgoing&, std::span<const std::byte> bytes) {
      EXPECT_EQ(text_of(bytes), model.front());
      return false;
    });
  }
}

TEST(DatagramQueue, F25_AFullOneIsNotMovedForEachPush) {
  DatagramQueue queue;
  const SocketAddress to = SocketAddress::loopback_ipv4(9);
  const std::string text(32, 'x');
  const auto first = [&] {
    const std::byte* at = nullptr;
    queue.look([&](const Outgoing&, std::span<const std::byte> bytes) {
      at = bytes.data();
      return false;
    });
    return at;
  };
  while (queue.bytes() < 1024 * 1024) queue.push({.to = to}, bytes_of(text));
  int moves = 0;
  for (std::size_t i = 0; i < 2 * queue.count(); ++i) {
    queue.pop(1);
    const std::byte* const before = first();
    queue.push({.to = to}, bytes_of(text));
    if (first() != before) ++moves;
  }
  EXPECT_LE(moves, 4);
}

TEST(DatagramQueue, AllocatesNothingInTheSteadyState) {
  DatagramQueue queue;
  const SocketAddress to = SocketAddress::loopback_ipv4(9);
  const std::string text(100, 'x');
  const auto round = [&] {
    for (int i = 0; i < 20; ++i) queue.push({.to = to}, bytes_of(text));
    queue.pop(10);
    for (int i = 0; i < 10; ++i) queue.push({.to = to}, bytes_of(text));
    queue.pop(20);
  };
  round();
  const AllocationCount count;
  for (int i = 0; i < 100; ++i) round();
  EXPECT_EQ(count.on_this_thread(), 0u);
}

}  // namespace
}  // namespace weir::test
