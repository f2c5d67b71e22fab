#include "weir/net/buffer/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/allocations.h"

namespace weir {
namespace {

using namespace std::string_view_literals;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// A block like the loop's, with `text` received into its start.
template <std::size_t kSize>
struct Block {
  explicit Block(std::string_view text) { receive(text); }
  ~Block() { internal::unpoison(memory); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void receive(std::string_view text) {
    internal::unpoison(memory);
    std::memcpy(memory.data(), text.data(), text.size());
  }
  std::array<std::byte, kSize> memory;
};

TEST(Buffer, StartsEmptyAndWithoutMemory) {
  const Buffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0U);
  EXPECT_EQ(buffer.capacity(), 0U);
  EXPECT_EQ(buffer.view(), "");
  EXPECT_EQ(buffer.find(""), 0U);
  EXPECT_EQ(buffer.find("x"), Buffer::npos);
  EXPECT_FALSE(buffer.lent());
  EXPECT_LE(sizeof buffer, 40U);
}

TEST(Buffer, EmptyOperationsTouchNothing) {
  Buffer buffer;
  buffer.consume(0);
  buffer.clear();
  buffer.append("");
  buffer.append(std::span<const std::byte>());
  buffer.commit(0);
  buffer.end_loan();
  EXPECT_EQ(buffer.take(), "");
  EXPECT_EQ(buffer.free_tail().size(), 0U);
  EXPECT_EQ(buffer.capacity(), 0U);
}

TEST(Buffer, AppendsAndConsumesInOrder) {
  Buffer buffer("hello ");
  buffer.append("world"sv);
  buffer.append(as_bytes("!"));
  EXPECT_EQ(buffer.view(), "hello world!");
  buffer.consume(6);
  EXPECT_EQ(buffer.view(), "world!");
  EXPECT_EQ(buffer.take(5), "world");
  EXPECT_EQ(buffer.take(), "!");
  EXPECT_TRUE(buffer.empty());
}

TEST(Buffer, KeepsEveryByteValue) {
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  Buffer buffer(all);
  EXPECT_EQ(buffer.view(), all);
  EXPECT_EQ(buffer.bytes().size(), 256U);
}

TEST(Buffer, EmptyingPutsTheCursorsBackToTheStart) {
  Buffer buffer("abc");
  const std::byte* start = buffer.data();
  const std::size_t room = buffer.capacity();
  for (int i = 0; i < 1000; ++i) {
    buffer.clear();
    EXPECT_EQ(buffer.data(), start);
    EXPECT_EQ(buffer.free_tail().size(), room);
    buffer.append("message");
  }
  EXPECT_EQ(buffer.capacity(), room);
}

TEST(Buffer, GivesLargeMemoryBackWhenEmpty) {
  Buffer buffer;
  buffer.append(std::string(Buffer::kKeptCapacity, 'x'));
  EXPECT_EQ(buffer.capacity(), Buffer::kKeptCapacity);
  buffer.clear();
  EXPECT_EQ(buffer.capacity(), Buffer::kKeptCapacity);
  buffer.append(std::string(Buffer::kKeptCapacity + 1, 'x'));
  buffer.consume(Buffer::kKeptCapacity);
  EXPECT_GT(buffer.capacity(), Buffer::kKeptCapacity);
  buffer.consume(1);
  EXPECT_EQ(buffer.capacity(), 0U);
  buffer.append("again");
  EXPECT_EQ(buffer.view(), "again");
}

TEST(Buffer, AppendsItsOwnBytes) {
  Buffer buffer("0123456789");
  for (int i = 0; i < 10; ++i) buffer.append(buffer.view());
  EXPECT_EQ(buffer.size(), 10240U);
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    ASSERT_EQ(buffer.view()[i], static_cast<char>('0' + i % 10));
  }
  // Also where the room comes from moving the bytes down.
  Buffer sliding(std::string(256, 'a'));
  sliding.consume(200);
  sliding.append(sliding.view());
  EXPECT_EQ(sliding.view(), std::string(112, 'a'));
}

TEST(Buffer, PrepareAndCommit) {
  Buffer buffer("ab");
  const std::span<std::byte> room = buffer.prepare(1000);
  ASSERT_GE(room.size(), 1000U);
  std::memset(room.data(), 'c', 3);
  buffer.commit(3);
  EXPECT_EQ(buffer.view(), "abccc");
  const std::size_t capacity = buffer.capacity();
  EXPECT_EQ(buffer.prepare(0).size(), capacity - 5);
  EXPECT_EQ(buffer.prepare(capacity - 5).size(), capacity - 5);
  EXPECT_EQ(buffer.capacity(), capacity);
  buffer.commit(0);
  EXPECT_EQ(buffer.view(), "abccc");
}

TEST(Buffer, PrepareOfImpossibleSizesThrowsAndChangesNothing) {
  Buffer buffer("abc");
  buffer.consume(1);
  const std::size_t largest = std::numeric_limits<std::size_t>::max();
  for (const std::size_t n : {largest, largest - 1, largest - 2, largest / 2 + 1, largest / 2}) {
    EXPECT_THROW(buffer.prepare(n), std::length_error) << n;
    EXPECT_EQ(buffer.view(), "bc");
  }
}

TEST(Buffer, MoveTakesTheMemory) {
  Buffer a("some bytes");
  a.consume(5);
  const std::byte* data = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(b.view(), "bytes");
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(a.capacity(), 0U);
  a.append("usable");
  b = std::move(a);
  EXPECT_EQ(b.view(), "usable");
  Buffer& same = b;
  b = std::move(same);
  EXPECT_EQ(b.view(), "usable");
}

TEST(Buffer, FindTable) {
  const Buffer buffer("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest");
  const std::string_view text = buffer.view();
  for (const std::string_view needle :
       {""sv, "G"sv, "GET"sv, "\r\n"sv, "\r\n\r\n"sv, "rest"sv, "t"sv, "resty"sv, "Z"sv, text}) {
    for (std::size_t from = 0; from <= text.size() + 2; ++from) {
      EXPECT_EQ(buffer.find(needle, from), text.find(needle, from)) << needle << " " << from;
    }
  }
  EXPECT_EQ(buffer.find("G", Buffer::npos), Buffer::npos);
}

TEST(Buffer, FindLooksOnlyAtWhatIsThere) {
  Buffer buffer("aXbXcX");
  buffer.consume(2);
  EXPECT_EQ(buffer.find("X"), 1U);
  EXPECT_EQ(buffer.find("a"), Buffer::npos);
  std::span<std::byte> tail = buffer.free_tail();
  tail[0] = std::byte{'Q'};
  EXPECT_EQ(buffer.find("Q"), Buffer::npos);
  EXPECT_EQ(buffer.find("XQ"), Buffer::npos);
}

// -- integers -------------------------------------------------------------------------------------

TEST(Buffer, IntegersAreInNetworkByteOrder) {
  Buffer buffer;
  buffer.append_u8(0x01);
  buffer.append_u16(0x0203);
  buffer.append_u32(0x04050607);
  buffer.append_u64(0x08090A0B0C0D0E0F);
  ASSERT_EQ(buffer.size(), 15U);
  for (std::size_t i = 0; i < 15; ++i) {
    EXPECT_EQ(std::to_integer<std::size_t>(buffer.bytes()[i]), i + 1);
  }
  EXPECT_EQ(buffer.peek_u8(), 0x01);
  EXPECT_EQ(buffer.peek_u16(), 0x0102);
  EXPECT_EQ(buffer.peek_u32(), 0x01020304U);
  EXPECT_EQ(buffer.peek_u64(), 0x0102030405060708U);
  EXPECT_EQ(buffer.size(), 15U);
  EXPECT_EQ(buffer.read_u8(), 0x01);
  EXPECT_EQ(buffer.read_u16(), 0x0203);
  EXPECT_EQ(buffer.read_u32(), 0x04050607U);
  EXPECT_EQ(buffer.read_u64(), 0x08090A0B0C0D0E0FU);
  EXPECT_TRUE(buffer.empty());
}

TEST(Buffer, IntegersNeedAllTheirBytes) {
  for (std::size_t size = 0; size <= 8; ++size) {
    Buffer buffer(std::string(size, '\x7f'));
    EXPECT_EQ(buffer.peek_u8().has_value(), size >= 1);
    EXPECT_EQ(buffer.peek_u16().has_value(), size >= 2);
    EXPECT_EQ(buffer.peek_u32().has_value(), size >= 4);
    EXPECT_EQ(buffer.peek_u64().has_value(), size >= 8);
    EXPECT_EQ(buffer.read_u64().has_value(), size >= 8);
    EXPECT_EQ(buffer.size(), size >= 8 ? 0 : size) << "a failed read takes nothing";
  }
}

TEST(Buffer, IntegersAtTheirLimits) {
  Buffer buffer;
  buffer.append_u8(0xFF);
  buffer.append_u16(0xFFFF);
  buffer.append_u32(0xFFFFFFFF);
  buffer.append_u64(~std::uint64_t{0});
  EXPECT_EQ(buffer.read_u8(), 0xFF);
  EXPECT_EQ(buffer.read_u16(), 0xFFFF);
  EXPECT_EQ(buffer.read_u32(), 0xFFFFFFFFU);
  EXPECT_EQ(buffer.read_u64(), ~std::uint64_t{0});
}

// -- lent memory ----------------------------------------------------------------------------------

TEST(Buffer, LentBytesAreReadInPlace) {
  Block<64> block("0123456789");
  Buffer buffer;
  buffer.lend(block.memory, 10);
  EXPECT_TRUE(buffer.lent());
  EXPECT_EQ(buffer.capacity(), 0U);
  EXPECT_EQ(buffer.data(), block.memory.data());
  EXPECT_EQ(buffer.take(4), "0123");
  EXPECT_EQ(buffer.view(), "456789");
  buffer.end_loan();
  EXPECT_FALSE(buffer.lent());
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.data(), nullptr);
  block.receive("next");
  buffer.lend(block.memory, 4);
  EXPECT_EQ(buffer.view(), "next");
  buffer.end_loan();
}

TEST(Buffer, LentAppendUsesTheBlocksTailAndThenOwnMemory) {
  Block<16> block("abcdef");
  Buffer buffer;
  buffer.lend(block.memory, 6);
  buffer.append("0123456789");  // just fits
  EXPECT_TRUE(buffer.lent());
  EXPECT_EQ(buffer.data(), block.memory.data());
  EXPECT_EQ(buffer.view(), "abcdef0123456789");
  buffer.append("!");
  EXPECT_FALSE(buffer.lent());
  EXPECT_GT(buffer.capacity(), 16U);
  EXPECT_EQ(buffer.view(), "abcdef0123456789!");
  buffer.end_loan();
  EXPECT_EQ(buffer.view(), "abcdef0123456789!") << "its own bytes stay";
}

TEST(Buffer, LentAndConsumedBytesLeaveRoomInTheBlock) {
  Block<16> block("abcdefghijklmnop");
  Buffer buffer;
  buffer.lend(block.memory, 16);
  buffer.consume(12);
  buffer.append("0123");  // moves "mnop" down within the block
  EXPECT_TRUE(buffer.lent());
  EXPECT_EQ(buffer.view(), "mnop0123");
  buffer.clear();
  EXPECT_EQ(buffer.free_tail().size(), 16U);
  EXPECT_TRUE(buffer.lent());
  buffer.end_loan();
}

TEST(Buffer, MovingFromLentMemoryCopies) {
  Block<16> block("abcdef");
  Buffer buffer;
  buffer.lend(block.memory, 6);
  Buffer kept(std::move(buffer));
  EXPECT_TRUE(buffer.empty());  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_TRUE(buffer.lent());
  buffer.end_loan();
  block.receive("XXXXXX");
  EXPECT_FALSE(kept.lent());
  EXPECT_EQ(kept.view(), "abcdef");

  buffer.lend(block.memory, 3);
  kept = std::move(buffer);
  EXPECT_EQ(kept.view(), "XXX");
  EXPECT_FALSE(kept.lent());
}

TEST(Buffer, AnEmptyLoan) {
  Block<16> block("");
  Buffer buffer;
  buffer.lend(block.memory, 0);
  EXPECT_TRUE(buffer.lent());
  EXPECT_TRUE(buffer.empty());
  buffer.append("into the block");
  EXPECT_EQ(buffer.data(), block.memory.data());
}

TEST(Buffer, TheSteadyStateDoesNotAllocate) {
  Block<4096> block("");
  Buffer lent;
  Buffer own(std::string(500, 'x'));
  const auto round = [&] {
    block.receive(std::string_view("0123456789abcdef"));
    lent.lend(block.memory, 16);
    own.append(lent.view());
    own.consume(16);
    lent.clear();
    lent.end_loan();
  };
  for (int i = 0; i < 1000; ++i) round();
  const test::AllocationCount allocations;
  for (int i = 0; i < 100'000; ++i) round();
  EXPECT_EQ(allocations.on_this_thread(), 0U);
}

// -- misuse ---------------------------------------------------------------------------------------

TEST(BufferDeathTest, TakingMoreThanThereIs) {
  Buffer buffer("abc");
  EXPECT_DEATH(buffer.consume(4), "Buffer::consume\\(4\\): the limit is 3 bytes");
  EXPECT_DEATH(buffer.consume(std::numeric_limits<std::size_t>::max()), "Buffer::consume");
  EXPECT_DEATH(buffer.take(4), "Buffer::take\\(4\\): the limit is 3 bytes");
}

TEST(BufferDeathTest, CommittingMoreThanWasPrepared) {
  Buffer buffer;
  const std::size_t room = buffer.prepare(10).size();
  EXPECT_DEATH(buffer.commit(room + 1), "Buffer::commit\\([0-9]+\\): the limit is [0-9]+ bytes");
  EXPECT_DEATH(buffer.commit(std::numeric_limits<std::size_t>::max()), "Buffer::commit");
}

TEST(BufferDeathTest, LendingToABufferInUse) {
  std::array<std::byte, 16> block{};
  Buffer buffer("x");
  EXPECT_DEATH(buffer.lend(block, 1), "Buffer::lend\\(\\): the buffer already has memory");
  Buffer fresh;
  EXPECT_DEATH(fresh.lend(block, 17), "Buffer::lend\\(\\): 17 bytes used of 16");
  EXPECT_DEATH(fresh.lend({}, 1), "Buffer::lend\\(\\): 1 bytes used of 0");
}

// -- the catalogue --------------------------------------------------------------------------------

// A message in two parts, split at every place, its bytes taken in two parts, split at every place.
TEST(Buffer, F18_EverySplitOfShortMessages) {
  std::string message;
  for (std::size_t i = 0; i < 64; ++i) message.push_back(static_cast<char>('0' + i));
  for (std::size_t size = 0; size <= message.size(); ++size) {
    const std::string_view sent = std::string_view(message).substr(0, size);
    for (std::size_t in = 0; in <= size; ++in) {
      for (std::size_t out = 0; out <= size; ++out) {
        Buffer buffer;
        std::string got;
        buffer.append(sent.substr(0, in));
        const std::size_t early = std::min(out, in);
        got += buffer.take(early);
        buffer.append(sent.substr(in));
        got += buffer.take(out - early);
        ASSERT_EQ(buffer.view(), sent.substr(out));
        got += buffer.take();
        ASSERT_EQ(got, sent);
      }
    }
  }
}

// The same from lent memory: what the handler leaves moves to own memory between two loans.
TEST(Buffer, F18_EverySplitOfALoan) {
  Block<64> block("");
  const std::string message = "a message of some forty bytes, to be cut";
  for (std::size_t in = 0; in <= message.size(); ++in) {
    for (std::size_t out = 0; out <= in; ++out) {
      block.receive(message.substr(0, in));
      Buffer lent;
      lent.lend(block.memory, in);
      std::string got = lent.take(out);
      Buffer rest(lent.view());
      lent.end_loan();
      block.receive(std::string(64, '#'));
      rest.append(std::string_view(message).substr(in));
      got += rest.take();
      ASSERT_EQ(got, message);
    }
  }
}

// Counts the bytes that `buffer` had to move for an append: all it held, if they lie elsewhere now.
class MoveCount {
 public:
  void before(const Buffer& buffer) {
    data_ = buffer.data();
    size_ = buffer.size();
  }
  void after(const Buffer& buffer) {
    if (size_ > 0 && buffer.data() != data_) moved_ += size_;
  }
  std::size_t moved() const { return moved_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t moved_ = 0;
};

TEST(Buffer, F28_OneByteAppendsMoveLinearlyManyBytes) {
  for (const std::size_t total :
       {std::size_t{1} << 12, std::size_t{1} << 20, std::size_t{1} << 24}) {
    Buffer buffer;
    MoveCount count;
    for (std::size_t i = 0; i < total; ++i) {
      count.before(buffer);
      buffer.append("x"sv);
      count.after(buffer);
    }
    EXPECT_EQ(buffer.size(), total);
    EXPECT_LE(count.moved(), 2 * total);
    EXPECT_LE(buffer.capacity(), 2 * total);
  }
}

TEST(Buffer, F28_PreparingAheadMovesLinearlyManyBytes) {
  constexpr std::size_t kTotal = std::size_t{1} << 20;
  Buffer buffer;
  MoveCount count;
  for (std::size_t i = 0; i < kTotal; ++i) {
    count.before(buffer);
    buffer.prepare(4096)[0] = std::byte{'x'};
    buffer.commit(1);
    count.after(buffer);
  }
  EXPECT_LE(count.moved(), 3 * kTotal);
}

// A window of unread bytes slides for ever: memory stays small and moves are paid for by
// consumption.
TEST(Buffer, F28_ASlidingWindowMovesNoMoreThanItConsumes) {
  for (const std::size_t window : {std::size_t{1}, std::size_t{300}, std::size_t{5000}}) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
      SCOPED_TRACE(testing::Message() << "window " << window << " step " << step);
      constexpr std::size_t kTotal = std::size_t{1} << 20;
      Buffer buffer{std::string(window, 'x')};
      const std::string chunk(step, 'x');
      MoveCount count;
      for (std::size_t i = 0; i < kTotal / step; ++i) {
        count.before(buffer);
        buffer.append(chunk);
        count.after(buffer);
        buffer.consume(step);
      }
      EXPECT_LE(count.moved(), 2 * kTotal + 8 * window);
      EXPECT_LE(buffer.capacity(), 256 + 6 * (window + step));
    }
  }
}

TEST(Buffer, F28_FindIsLinearForHostileText) {
  // The classic worst case for a naive search: every place matches nearly to the end.
  const auto search = [](std::size_t n) {
    const Buffer buffer(std::string(n, 'a'));
    const std::string needle = std::string(n / 4, 'a') + 'b';
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(buffer.find(needle), Buffer::npos);
    return std::chrono::steady_clock::now() - start;
  };
  search(1 << 12);
  // Quadratic would be 4e11 comparisons, minutes; linear is milliseconds.
  EXPECT_LT(search(std::size_t{1} << 20), std::chrono::seconds(5));
}

#ifdef WEIR_POISON
// ASan builds: each way for a kept view to end is found at the first look.
class F29_BufferDeathTest : public testing::Test {
 protected:
  static char first_of(std::string_view kept) {
    const volatile char* p = kept.data();
    return *p;
  }
};

TEST_F(F29_BufferDeathTest, ViewOfConsumedBytes) {
  Buffer buffer("0123456789abcdef0123456789abcdef");
  const std::string_view kept = buffer.view();
  buffer.consume(16);
  EXPECT_EQ(first_of(kept.substr(16)), '0') << "what remains is fine";
  EXPECT_DEATH(first_of(kept), "use-after-poison");
}

TEST_F(F29_BufferDeathTest, ViewOfAnEmptiedBuffer) {
  Buffer buffer("0123456789abcdef");
  const std::string_view kept = buffer.view();
  buffer.clear();
  EXPECT_DEATH(first_of(kept), "use-after-poison");
}

TEST_F(F29_BufferDeathTest, ViewAcrossAGrowingAppend) {
  Buffer buffer("0123456789abcdef");
  const std::string_view kept = buffer.view();
  buffer.append(std::string(1000, 'x'));
  EXPECT_DEATH(first_of(kept), "heap-use-after-free");
}

TEST_F(F29_BufferDeathTest, ViewAcrossACompactingAppend) {
  Buffer buffer(std::string(256, 'x'));
  buffer.consume(240);
  const std::string_view kept = buffer.view();
  buffer.append("0123456789abcdef");
  EXPECT_DEATH(first_of(kept), "use-after-poison");
}

TEST_F(F29_BufferDeathTest, ViewOfALoanThatEnded) {
  Block<64> block("0123456789abcdef");
  Buffer buffer;
  buffer.lend(block.memory, 16);
  const std::string_view kept = buffer.view();
  EXPECT_EQ(first_of(kept), '0');
  buffer.end_loan();
  EXPECT_DEATH(first_of(kept), "use-after-poison");
}

TEST_F(F29_BufferDeathTest, ViewOfALoanThatWentOverToOwnMemory) {
  Block<64> block("0123456789abcdef");
  Buffer buffer;
  buffer.lend(block.memory, 16);
  const std::string_view kept = buffer.view();
  buffer.append(std::string(100, 'x'));
  EXPECT_DEATH(first_of(kept), "use-after-poison");
}
#endif

// A parser's place goes where the bytes go, and ends with them.
TEST(Buffer, ProgressIsKeptUntilSomethingIsConsumed) {
  Block<8> block("abcd");
  Buffer lent;
  lent.lend(block.memory, 4);
  EXPECT_EQ(lent.progress(), 0u);
  lent.set_progress(4);
  Buffer buffer(std::move(lent));
  EXPECT_EQ(buffer.progress(), 4u);
  buffer.append(std::string(1000, 'x'));
  EXPECT_EQ(buffer.progress(), 4u);
  Buffer moved;
  moved = std::move(buffer);
  EXPECT_EQ(moved.progress(), 4u);
  moved.consume(1);
  EXPECT_EQ(moved.progress(), 0u);
  moved.set_progress(3);
  moved.clear();
  EXPECT_EQ(moved.progress(), 0u);
  Buffer again;
  again.lend(block.memory, 4);
  again.set_progress(2);
  again.end_loan();
  EXPECT_EQ(again.progress(), 0u);
}

// Without ASan the rule is the same; what can be seen is where the bytes lie afterwards.
TEST(Buffer, F29_ViewsEndWithTheNextChange) {
  Buffer buffer(std::string(256, 'a'));
  const std::byte* before = buffer.data();
  buffer.append("b");
  EXPECT_NE(buffer.data(), before) << "a full buffer goes elsewhere";
  Buffer sliding(std::string(256, 'a'));
  before = sliding.data();
  sliding.consume(200);
  sliding.append("b");
  EXPECT_EQ(sliding.data(), before) << "consumed bytes are overwritten";
}

TEST(Buffer, PrepareGrowsNoFurtherThanItIsAllowedUnlessTheBytesNeedIt) {
  Buffer buffer(std::string(1000, 'a'));
  EXPECT_EQ(buffer.prepare(100, 1500).size(), 500u);
  EXPECT_EQ(buffer.capacity(), 1500u);
  EXPECT_EQ(buffer.prepare(1000, 1500).size(), 1000u);
  EXPECT_EQ(buffer.capacity(), 2000u);
  EXPECT_EQ(buffer.view(), std::string(1000, 'a'));
}

TEST(Buffer, ShrinkToFitKeepsTheBytesAndWhatIsRememberedOfThem) {
  const std::string kept(1000, 'b');
  Buffer buffer(std::string(99'000, 'a') + kept);
  buffer.consume(99'000);
  buffer.set_progress(7);
  buffer.shrink_to_fit();
  EXPECT_EQ(buffer.capacity(), 1000u);
  EXPECT_EQ(buffer.view(), kept);
  EXPECT_EQ(buffer.progress(), 7u);
  const std::byte* const before = buffer.data();
  buffer.shrink_to_fit();
  EXPECT_EQ(buffer.data(), before) << "nothing is to be given back";
  std::array<std::byte, 512> block{};
  Buffer borrowed;
  borrowed.lend(block, 1);
  borrowed.shrink_to_fit();
  EXPECT_TRUE(borrowed.lent());
  borrowed.end_loan();
}

}  // namespace
}  // namespace weir
