#include "weir/net/buffer/output_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/allocations.h"

namespace weir {
namespace {

Fd null_file() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

std::string_view text_of(const iovec& vector) {
  return {static_cast<const char*>(vector.iov_base), vector.iov_len};
}

// The memory at the front, up to a file.
std::string front(const OutputQueue& queue) {
  std::vector<iovec> vectors(10'000);
  vectors.resize(queue.fill(vectors));
  std::string text;
  for (const iovec& vector : vectors) text += text_of(vector);
  return text;
}

std::size_t segments(const OutputQueue& queue) {
  std::vector<iovec> vectors(10'000);
  return queue.fill(vectors);
}

TEST(OutputQueue, StartsEmptyAndWithoutMemory) {
  const OutputQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_EQ(queue.memory(), 0U);
  EXPECT_EQ(queue.front_file().length, 0U);
  std::array<iovec, 4> vectors{};
  EXPECT_EQ(queue.fill(vectors), 0U);
  EXPECT_LE(sizeof queue, 40U);
}

TEST(OutputQueue, EmptyAppendsAddNothing) {
  OutputQueue queue;
  queue.append("");
  queue.append(std::string());
  queue.append(SharedBytes());
  queue.append(std::span<const std::byte>());
  Fd file = null_file();
  const int number = file.get();
  queue.append_file(std::move(file), 7, 0);
  EXPECT_FALSE(is_open(number)) << "nothing to send: the file is closed at once";
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.memory(), 0U);
  queue.consume(0);
  queue.clear();
}

TEST(OutputQueue, SmallAppendsAreGatheredIntoOneSegment) {
  OutputQueue queue;
  std::string expected;
  for (int i = 0; i < 32; ++i) {
    const std::string reply(64, static_cast<char>('a' + i % 26));
    queue.append(reply);
    expected += reply;
  }
  EXPECT_EQ(segments(queue), 1U);
  EXPECT_EQ(front(queue), expected);
  EXPECT_EQ(queue.size(), expected.size());
}

TEST(OutputQueue, BlocksGrowGeometricallyUpToALimit) {
  OutputQueue queue;
  const std::string line(100, 'x');
  constexpr std::size_t kLines = 20'000;  // 2 MB
  for (std::size_t i = 0; i < kLines; ++i) queue.append(line);
  EXPECT_EQ(queue.size(), kLines * 100);
  EXPECT_LE(segments(queue), 2 + kLines * 100 / 65'000 + 1);
  EXPECT_LE(queue.memory(), kLines * 100 + 64 * 1024 + 4096);
  EXPECT_EQ(front(queue), std::string(kLines * 100, 'x'));
}

TEST(OutputQueue, ALargeCopyIsOneSegmentWithoutSlack) {
  OutputQueue queue;
  const std::string large(1'000'000, 'L');
  queue.append(std::string_view(large));
  EXPECT_EQ(segments(queue), 1U);
  EXPECT_LE(queue.memory(), 1'000'000U + 64);
  EXPECT_EQ(front(queue), large);
}

TEST(OutputQueue, LargeStringsAreTakenOverAndSmallOnesCopied) {
  OutputQueue queue;
  std::string large(10'000, 'L');
  const void* bytes = large.data();
  queue.append(std::move(large));
  queue.append(std::string(10, 's'));
  std::string wasteful(5'000, 'w');
  wasteful.reserve(100'000);
  queue.append(std::move(wasteful));
  std::array<iovec, 8> vectors{};
  ASSERT_EQ(queue.fill(vectors), 3U);
  EXPECT_EQ(vectors[0].iov_base, bytes);
  EXPECT_EQ(vectors[0].iov_len, 10'000U);
  EXPECT_LT(queue.memory(), 10'000U + 5'000U + 3 * 4096U) << "unused capacity is not kept";
  EXPECT_EQ(front(queue),
            std::string(10'000, 'L') + std::string(10, 's') + std::string(5'000, 'w'));
}

TEST(OutputQueue, SharedBytesAreSharedWhileQueued) {
  const SharedBytes message = SharedBytes::copy(std::string(1000, 'm'));
  OutputQueue a;
  OutputQueue b;
  a.append(message);
  b.append(message.slice(500));
  EXPECT_EQ(message.use_count(), 3U);
  std::array<iovec, 2> vectors{};
  ASSERT_EQ(a.fill(vectors), 1U);
  EXPECT_EQ(vectors[0].iov_base, message.data());
  ASSERT_EQ(b.fill(vectors), 1U);
  EXPECT_EQ(vectors[0].iov_base, message.data() + 500);
  EXPECT_LE(a.memory(), 64U);
  a.consume(999);
  EXPECT_EQ(message.use_count(), 3U);
  a.consume(1);
  EXPECT_EQ(message.use_count(), 2U) << "freed with its last byte";
  b.clear();
  EXPECT_EQ(message.use_count(), 1U);
}

TEST(OutputQueue, TinySharedBytesJoinAnOpenBlock) {
  OutputQueue queue;
  queue.append("header ");
  const SharedBytes tiny = SharedBytes::copy("tiny");
  queue.append(tiny);
  EXPECT_EQ(tiny.use_count(), 1U);
  EXPECT_EQ(segments(queue), 1U);
  EXPECT_EQ(front(queue), "header tiny");
}

TEST(OutputQueue, HeadersBetweenSharedPayloadsStaySmall) {
  OutputQueue queue;
  const SharedBytes payload = SharedBytes::copy(std::string(10'000, 'p'));
  for (int i = 0; i < 1000; ++i) {
    queue.append("1234");
    queue.append(payload);
  }
  EXPECT_LE(queue.memory(), 1000 * (512 + 64U) + 4096U);
  queue.clear();
  EXPECT_EQ(payload.use_count(), 1U);
}

TEST(OutputQueue, FilesStandBetweenMemory) {
  OutputQueue queue;
  Fd file = null_file();
  const int number = file.get();
  queue.append("head");
  queue.append_file(std::move(file), 100, 50);
  queue.append("tail");
  EXPECT_EQ(queue.size(), 58U);

  EXPECT_EQ(front(queue), "head");
  EXPECT_EQ(queue.front_file().length, 0U);
  queue.consume(4);

  EXPECT_EQ(front(queue), "");
  OutputQueue::FileRange range = queue.front_file();
  EXPECT_EQ(range.fd, number);
  EXPECT_EQ(range.offset, 100U);
  EXPECT_EQ(range.length, 50U);
  queue.consume(49);
  range = queue.front_file();
  EXPECT_EQ(range.offset, 149U);
  EXPECT_EQ(range.length, 1U);
  EXPECT_TRUE(is_open(number));
  queue.consume(1);
  EXPECT_FALSE(is_open(number)) << "closed with its last byte";

  EXPECT_EQ(front(queue), "tail");
  queue.consume(4);
  EXPECT_TRUE(queue.empty());
}

TEST(OutputQueue, OneConsumeMayCrossSegmentsOfEveryKind) {
  OutputQueue queue;
  queue.append("abc");
  queue.append(SharedBytes::copy(std::string(500, 's')));
  queue.append_file(null_file(), 0, 1000);
  queue.append(std::string(5000, 'o'));
  queue.append("xyz");
  queue.consume(3 + 500 + 1000 + 5000 + 1);
  EXPECT_EQ(front(queue), "yz");
}

TEST(OutputQueue, TheDestructorClosesFilesAndDropsShares) {
  const SharedBytes shared = SharedBytes::copy(std::string(1000, 's'));
  Fd file = null_file();
  const int number = file.get();
  {
    OutputQueue queue;
    queue.append(shared);
    queue.append_file(std::move(file), 0, 10);
    queue.append(std::string(100'000, 'x'));
  }
  EXPECT_EQ(shared.use_count(), 1U);
  EXPECT_FALSE(is_open(number));
}

TEST(OutputQueue, CostCountsSegmentsAndLeavesFileBytesOut) {
  OutputQueue queue;
  for (int i = 0; i < 100; ++i) queue.append(SharedBytes::copy("x"));
  EXPECT_EQ(queue.size(), 100u);
  EXPECT_GE(queue.cost(), 100u * 65);
  queue.consume(99);
  EXPECT_EQ(queue.cost(), 65u);
  queue.append_file(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), 0, std::uint64_t{1} << 40);
  EXPECT_EQ(queue.cost(), 129u);
  queue.append(std::string(100'000, 'x'));
  EXPECT_EQ(queue.cost(), 129u + 64 + 100'000);
  queue.consume(1 + (std::uint64_t{1} << 40) + 60'000);
  EXPECT_EQ(queue.cost(), 64u + 40'000);
  queue.clear();
  EXPECT_EQ(queue.cost(), 0u);
}

TEST(OutputQueue, FilesBeyondFourGigabytes) {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  OutputQueue queue;
  queue.append_file(null_file(), 3 * kGiB, 5 * kGiB);
  queue.append("end");
  EXPECT_EQ(queue.size(), 5 * kGiB + 3);
  queue.consume(4 * kGiB + 1);
  EXPECT_EQ(queue.front_file().offset, 7 * kGiB + 1);
  EXPECT_EQ(queue.front_file().length, kGiB - 1);
  queue.consume(kGiB - 1);
  EXPECT_EQ(front(queue), "end");
}

TEST(OutputQueue, TheLargestFileRange) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  OutputQueue queue;
  queue.append_file(null_file(), 0, kLargest);
  queue.append_file(null_file(), kLargest - 1, 1);
  queue.append_file(null_file(), 0, kLargest);
  EXPECT_EQ(queue.size(), 2 * kLargest + 1);
  queue.consume(kLargest);
  EXPECT_EQ(queue.front_file().offset, kLargest - 1);
}

TEST(OutputQueue, AppendsItsOwnBytes) {
  OutputQueue queue;
  queue.append(std::string(1000, 'x'));
  for (int i = 0; i < 6; ++i) {
    std::array<iovec, 1> vectors{};
    ASSERT_EQ(queue.fill(vectors), 1U);
    queue.append(text_of(vectors[0]));
  }
  EXPECT_EQ(front(queue), std::string(queue.size(), 'x'));
}

// In the steady state (one message after the other) the same memory serves again and again.
TEST(OutputQueue, ReusesItsBlockFromMessageToMessage) {
  std::set<const void*> addresses;
  for (int connection = 0; connection < 10; ++connection) {
    OutputQueue queue;
    for (int message = 0; message < 100; ++message) {
      queue.append(std::string_view("sixty-four bytes, say"));
      std::array<iovec, 1> vectors{};
      ASSERT_EQ(queue.fill(vectors), 1U);
      addresses.insert(vectors[0].iov_base);
      queue.consume(queue.size());
      ASSERT_EQ(queue.memory(), 0U);
    }
  }
  // The first message of all may have come from a new block.
  EXPECT_LE(addresses.size(), 1U);
}

TEST(OutputQueue, TheSteadyStateDoesNotAllocate) {
  const SharedBytes shared = SharedBytes::copy(std::string(1000, 's'));
  std::array<OutputQueue, 200> receivers;
  std::array<iovec, 8> vectors{};
  const auto round = [&] {
    // Request and reply, 32 pipelined replies, a broadcast.
    for (OutputQueue& queue : receivers) {
      for (int reply = 0; reply < 32; ++reply) queue.append(std::string_view("0123456789abcdef"));
      queue.consume(queue.size());
    }
    for (OutputQueue& queue : receivers) queue.append(shared);
    for (OutputQueue& queue : receivers) {
      if (queue.fill(vectors) == 1) queue.consume(vectors[0].iov_len);
    }
  };
  round();
  const test::AllocationCount allocations;
  for (int i = 0; i < 100; ++i) round();
  EXPECT_EQ(allocations.on_this_thread(), 0U);
}

TEST(OutputQueue, AQueueMayEndOnAnotherThread) {
  auto queue = std::make_unique<OutputQueue>();
  for (int i = 0; i < 200; ++i) {
    queue->append(SharedBytes::copy(std::string(300, 's')));
    queue->append("between");
  }
  std::thread([&queue] { queue.reset(); }).join();
  EXPECT_EQ(queue, nullptr);
  OutputQueue::release_cache();
  OutputQueue again;
  again.append("works");
  EXPECT_EQ(front(again), "works");
}

// Its thread's cache is gone before it.
TEST(OutputQueue, AQueueMayOutliveItsThreadsCache) {
  std::thread([] {
    static thread_local OutputQueue last;  // made before the cache's guard, so destroyed after it
    last.append("left over");
    OutputQueue other;
    other.append("fills the cache");
  }).join();
  SUCCEED() << "no leak and no use after free, which the sanitizers would report";
}

// -- misuse ---------------------------------------------------------------------------------------

TEST(OutputQueueDeathTest, ConsumingMoreThanThereIs) {
  OutputQueue queue;
  EXPECT_DEATH(queue.consume(1), "OutputQueue::consume\\(1\\): the queue has only 0 bytes");
  queue.append("abc");
  EXPECT_DEATH(queue.consume(4), "OutputQueue::consume\\(4\\): the queue has only 3 bytes");
}

TEST(OutputQueueDeathTest, ImpossibleFiles) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  OutputQueue queue;
  EXPECT_DEATH(queue.append_file(Fd(), 0, 1), "append_file\\(\\): the Fd is empty");
  EXPECT_DEATH(queue.append_file(null_file(), kLargest, 1), "beyond the largest file");
  EXPECT_DEATH(queue.append_file(null_file(), 1, kLargest), "beyond the largest file");
  EXPECT_DEATH(queue.append_file(null_file(), ~std::uint64_t{0}, 2), "beyond the largest file");
}

TEST(OutputQueueDeathTest, MoreThanASizeCanCount) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  OutputQueue queue;
  queue.append_file(null_file(), 0, kLargest);
  queue.append_file(null_file(), 0, kLargest);
  queue.append("x");
  ASSERT_EQ(queue.size(), ~std::uint64_t{0});
  EXPECT_DEATH(queue.append("y"), "exceed 2\\^64");
  EXPECT_DEATH(queue.append_file(null_file(), 0, 1), "exceed 2\\^64");
}

// -- the catalogue --------------------------------------------------------------------------------

TEST(OutputQueue, F30_FillStopsAtTheSpanItIsGiven) {
  OutputQueue queue;
  std::vector<SharedBytes> parts;
  constexpr std::size_t kParts = 3 * IOV_MAX;
  for (std::size_t i = 0; i < kParts; ++i) {
    queue.append(SharedBytes::copy(std::string(200, static_cast<char>('a' + i % 26))));
  }
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{64},
                                 std::size_t{IOV_MAX}, kParts, kParts + 1}) {
    std::vector<iovec> vectors(room + 1, iovec{.iov_base = nullptr, .iov_len = 77});
    ASSERT_EQ(queue.fill(std::span(vectors).first(room)), std::min(room, kParts));
    EXPECT_EQ(vectors[room].iov_len, 77U) << "nothing is written behind the span";
    for (std::size_t i = 0; i < std::min(room, kParts); ++i) {
      ASSERT_EQ(text_of(vectors[i]), std::string(200, static_cast<char>('a' + i % 26)));
    }
  }
  // And goes on where it stopped.
  queue.consume(std::uint64_t{200} * IOV_MAX);
  EXPECT_EQ(segments(queue), kParts - IOV_MAX);
}

// Every message of up to 64 bytes, in two appends split at every place, sent in two parts split at
// every place, with and without a segment boundary between the appends.
TEST(OutputQueue, F18_EverySplitOfShortMessages) {
  std::string message;
  for (std::size_t i = 0; i < 64; ++i) message.push_back(static_cast<char>('0' + i));
  for (std::size_t size = 1; size <= message.size(); ++size) {
    for (std::size_t in = 0; in <= size; ++in) {
      for (std::size_t out = 0; out <= size; ++out) {
        for (const bool shared : {false, true}) {
          OutputQueue queue;
          const std::string_view sent = std::string_view(message).substr(0, size);
          if (shared) {
            queue.append(SharedBytes::copy(sent.substr(0, in)));
          } else {
            queue.append(sent.substr(0, in));
          }
          queue.append(sent.substr(in));
          std::array<iovec, 3> vectors{};
          const std::size_t filled = queue.fill(vectors);
          std::string whole;
          for (std::size_t i = 0; i < filled; ++i) whole += text_of(vectors[i]);
          ASSERT_EQ(whole, sent);
          queue.consume(out);
          ASSERT_EQ(queue.size(), size - out);
          whole.clear();
          const std::size_t refilled = queue.fill(vectors);
          for (std::size_t i = 0; i < refilled; ++i) whole += text_of(vectors[i]);
          ASSERT_EQ(whole, sent.substr(out));
        }
      }
    }
  }
}

TEST(OutputQueue, F18_OneByteAtATime) {
  OutputQueue queue;
  std::string expected;
  for (std::size_t i = 0; i < 20'000; ++i) {
    expected.push_back(static_cast<char>('a' + i % 26));
    queue.append(std::string_view(expected).substr(i));
  }
  std::string got;
  while (!queue.empty()) {
    std::array<iovec, 1> vectors{};
    ASSERT_EQ(queue.fill(vectors), 1U);
    got += text_of(vectors[0]).front();
    queue.consume(1);
  }
  EXPECT_EQ(got, expected);
}

// A receiver that is always a little behind: memory is bounded by what is queued, for ever.
TEST(OutputQueue, F28_ASlidingWindowStaysSmall) {
  OutputQueue queue;
  queue.append(std::string(3000, 'w'));
  std::size_t most = 0;
  for (int i = 0; i < 100'000; ++i) {
    queue.append(std::string_view("0123456789"));
    queue.consume(10);
    most = std::max(most, queue.memory());
  }
  EXPECT_EQ(queue.size(), 3000U);
  EXPECT_LE(most, 2 * 65'536U + 4096U);
}

#ifdef WEIR_POISON
TEST(OutputQueueDeathTest, F29_VectorsOfBytesThatWereSent) {
  OutputQueue queue;
  queue.append("0123456789abcdef");
  std::array<iovec, 1> vectors{};
  ASSERT_EQ(queue.fill(vectors), 1U);
  queue.clear();
  const volatile char* kept = static_cast<const char*>(vectors[0].iov_base);
  EXPECT_DEATH(static_cast<void>(*kept), "use-after-poison");
}
#endif

// -- against a model ------------------------------------------------------------------------------

class OutputQueueModel : public testing::TestWithParam<unsigned> {
 protected:
  struct Part {
    bool file;
    std::string text;
    int fd;
    std::uint64_t offset;
    std::uint64_t length;
  };

  void add_text(std::string text) {
    if (text.empty()) return;
    const std::uint64_t length = text.size();
    model_.push_back({false, std::move(text), -1, 0, length});
  }

  std::string some_text() {
    constexpr std::array<std::size_t, 6> kSizes = {20, 20, 200, 3000, 9000, 70'000};
    std::string text(random_() % kSizes.at(random_() % kSizes.size()), '\0');
    // A run that starts anywhere: cheap to make, and any byte out of place shows.
    auto c = static_cast<unsigned>(random_() % 26);
    for (char& out : text) out = static_cast<char>('a' + c++ % 26);
    return text;
  }

  void append();
  void consume(std::uint64_t n);
  void check();

  std::mt19937 random_{GetParam()};
  OutputQueue queue_;
  std::vector<Part> model_;
};

void OutputQueueModel::append() {
  std::string text = some_text();
  switch (random_() % 6) {
    case 0:
      queue_.append(SharedBytes::copy(text));
      add_text(text);
      break;
    case 1:
      add_text(text);
      queue_.append(std::move(text));
      break;
    case 2: {
      Fd file = null_file();
      const std::uint64_t offset = random_();
      const std::uint64_t length = (std::uint64_t{random_()} % 1000) << (random_() % 30);
      if (length > 0) model_.push_back({true, "", file.get(), offset, length});
      queue_.append_file(std::move(file), offset, length);
      break;
    }
    default:
      queue_.append(std::string_view(text));
      add_text(text);
  }
}

void OutputQueueModel::consume(std::uint64_t n) {
  queue_.consume(n);
  while (n > 0) {
    Part& part = model_.front();
    const std::uint64_t here = std::min(n, part.length);
    part.length -= here;
    part.offset += here;
    if (!part.file) part.text.erase(0, here);
    n -= here;
    if (part.length > 0) continue;
    if (part.file) {
      ASSERT_FALSE(is_open(part.fd));
    }
    model_.erase(model_.begin());
  }
}

void OutputQueueModel::check() {
  std::uint64_t total = 0;
  std::string memory;
  bool at_file = false;
  for (const Part& part : model_) {
    total += part.length;
    at_file = at_file || part.file;
    if (!at_file) memory += part.text;
  }
  ASSERT_EQ(queue_.size(), total);
  ASSERT_EQ(queue_.empty(), total == 0);
  ASSERT_EQ(queue_.memory() == 0, total == 0);

  std::vector<iovec> vectors(random_() % 20);
  vectors.resize(queue_.fill(vectors));
  std::string shown;
  for (const iovec& vector : vectors) {
    ASSERT_GT(vector.iov_len, 0U);
    shown += text_of(vector);
  }
  ASSERT_EQ(shown, memory.substr(0, shown.size()));
  if (vectors.empty()) return;
  const OutputQueue::FileRange range = queue_.front_file();
  ASSERT_EQ(range.length, 0U);
}

TEST_P(OutputQueueModel, BehavesLikeItsModel) {
  for (int i = 0; i < 3000; ++i) {
    const bool filling = (i / 200) % 2 == 0;
    if (random_() % 10 < (filling ? 6U : 3U)) {
      append();
    } else if (!model_.empty()) {
      const std::uint64_t limit = random_() % 3 == 0 ? queue_.size() : model_.front().length;
      consume(std::min<std::uint64_t>(queue_.size(), random_() % (limit + 1)));
    }
    check();
    if (!model_.empty() && model_.front().file) {
      const OutputQueue::FileRange range = queue_.front_file();
      ASSERT_EQ(range.fd, model_.front().fd);
      ASSERT_EQ(range.offset, model_.front().offset);
      ASSERT_EQ(range.length, model_.front().length);
    }
    if (HasFatalFailure()) FAIL() << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, OutputQueueModel, testing::Range(1U, 7U));

}  // namespace
}  // namespace weir
