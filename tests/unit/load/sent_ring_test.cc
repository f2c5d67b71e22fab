// Which datagrams weir-load udp waits for.

#include "load/sent_ring.h"

#include <gtest/gtest.h>

namespace weir::load {
namespace {

TimePoint at(std::uint64_t n) { return TimePoint(Duration(static_cast<Duration::rep>(n))); }

TEST(SentRing, EachNumberComesBackOnce) {
  SentRing ring(1024);
  EXPECT_EQ(ring.oldest(), std::nullopt);
  for (std::uint64_t n = 0; n < 200; ++n) ring.push(at(n));
  EXPECT_EQ(ring.in_flight(), 200U);
  EXPECT_EQ(ring.take(200), std::nullopt);  // not sent
  EXPECT_EQ(ring.take(7), at(7));
  EXPECT_EQ(ring.take(7), std::nullopt);
  EXPECT_EQ(ring.oldest(), at(0));
  for (std::uint64_t n = 0; n < 7; ++n) EXPECT_EQ(ring.take(n), at(n));
  EXPECT_EQ(ring.oldest(), at(8));
  EXPECT_EQ(ring.in_flight(), 192U);
  EXPECT_EQ(ring.take(3), std::nullopt);
}

TEST(SentRing, GivenUpIsNotAwaitedAnyMore) {
  SentRing ring(1024);
  for (std::uint64_t n = 0; n < 3; ++n) ring.push(at(n));
  EXPECT_EQ(ring.take(1), at(1));
  ring.drop_first();
  EXPECT_EQ(ring.take(0), std::nullopt);
  EXPECT_EQ(ring.oldest(), at(2));
  EXPECT_EQ(ring.take(2), at(2));
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.in_flight(), 0U);
}

// With --timeout 1e6 a datagram that was lost kept all that followed it in memory.
TEST(SentRing, OneLostDatagramDoesNotLetItGrow) {
  SentRing ring(1024);
  std::uint64_t lost = 0;
  for (std::uint64_t n = 0; n < 1'000'000; ++n) {
    if (ring.full()) {
      ring.drop_first();
      ++lost;
    }
    ring.push(at(n));
    if (n % 100'000 != 0) {
      EXPECT_EQ(ring.take(n), at(n));
    }
  }
  EXPECT_EQ(lost, 10U);
  EXPECT_EQ(ring.room(), 1024U);
}

}  // namespace
}  // namespace weir::load
