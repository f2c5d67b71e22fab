#include "weir/net/buffer/output_queue.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <variant>

#include "weir/base/aligned_bytes.h"
#include "weir/base/check_format.h"
#include "weir/base/poison.h"

namespace weir {
namespace {

// Freed allocations of these sizes are kept for reuse, up to kCachedCounts of each. A loop fills
// and empties one queue after the other, so a few blocks serve all its connections; a broadcast
// needs one shared segment for each receiver at the same time.
constexpr std::size_t kSegmentSize = 64;        // without bytes of its own
constexpr std::size_t kSmallBlock = 512;        // a header between shared segments
constexpr std::size_t kBlock = 4 * 1024;        // the usual first one
constexpr std::size_t kLargeBlock = 64 * 1024;  // the largest
constexpr std::array<std::size_t, 3> kCachedSizes = {kSegmentSize, kSmallBlock, kBlock};
constexpr std::array<std::uint32_t, 3> kCachedCounts = {1024, 64, 32};  // 224 KiB for each thread

// A shorter string is cheaper to copy than to keep as a segment of its own.
constexpr std::size_t kTakeOver = 4 * 1024;
// Shared bytes up to this size are copied if the open block has room for them.
constexpr std::size_t kCopyShared = 128;

// Free allocations, linked through their first bytes. Trivially destructible, so that queues that
// are destroyed at the end of their thread (statics) can still use it.
struct Cache {
  struct Free {
    Free* next;
  };
  std::array<Free*, kCachedSizes.size()> free{};
  std::array<std::uint32_t, kCachedSizes.size()> count{};
  bool guarded = false;  // a CacheGuard will empty it
  bool closed = false;   // the thread is ending: free everything
};
constinit thread_local Cache cache;

// Under ASan, cached memory is poisoned like freed memory.
std::span<const std::byte> behind_link(const Cache::Free* block, std::size_t index) {
  return std::as_bytes(std::span(reinterpret_cast<const char*>(block), kCachedSizes[index]))
      .subspan(sizeof(Cache::Free));
}

// A segment without bytes of its own need not begin at a cache line, because the kernel copies
// nothing out of it.
void* take_memory(std::size_t size) {
  return size == kSegmentSize ? ::operator new(size) : internal::allocate_aligned(size);
}
void give_memory_back(void* memory, std::size_t size) {
  size == kSegmentSize ? ::operator delete(memory) : internal::free_aligned(memory);
}

void empty_cache() {
  for (std::size_t i = 0; i < kCachedSizes.size(); ++i) {
    while (Cache::Free* block = cache.free[i]) {
      cache.free[i] = block->next;
      internal::unpoison(behind_link(block, i));
      give_memory_back(block, kCachedSizes[i]);
    }
    cache.count[i] = 0;
  }
}

struct CacheGuard {
  CacheGuard() { cache.guarded = true; }
  CacheGuard(const CacheGuard&) = delete;
  CacheGuard& operator=(const CacheGuard&) = delete;
  ~CacheGuard() {
    empty_cache();
    cache.closed = true;
  }
};

void guard_cache() { static thread_local const CacheGuard guard; }

// Index in kCachedSizes; kCachedSizes.size() for a size that is not cached.
std::size_t cache_index(std::size_t size) {
  return size == kBlock ? 2 : size == kSegmentSize ? 0 : size == kSmallBlock ? 1 : 3;
}

void* allocate(std::size_t size) {
  const std::size_t index = cache_index(size);
  if (index < kCachedSizes.size() && cache.free[index] != nullptr) {
    Cache::Free* block = cache.free[index];
    cache.free[index] = block->next;
    --cache.count[index];
    internal::unpoison(behind_link(block, index));
    return block;
  }
  return take_memory(size);
}

void deallocate(void* memory, std::size_t size) {
  const std::size_t index = cache_index(size);
  if (index < kCachedSizes.size() && cache.count[index] < kCachedCounts[index] && !cache.closed) {
    if (!cache.guarded) guard_cache();
    cache.free[index] = ::new (memory) Cache::Free{cache.free[index]};
    internal::poison(behind_link(cache.free[index], index));
    ++cache.count[index];
    return;
  }
  give_memory_back(memory, size);
}

}  // namespace

// The Segment fills one cache line. A block's bytes follow it in the same allocation.
struct OutputQueue::Segment {
  struct Block {
    std::size_t allocation;  // its size in bytes, with the Segment
    std::size_t room;        // free bytes at its end
  };
  struct File {
    Fd file;
    std::uint64_t offset;
  };
  using Owner = std::variant<Block, std::string, SharedBytes, File>;

  explicit Segment(Owner&& what) : owner(std::move(what)) {}
  bool is_file() const { return std::holds_alternative<File>(owner); }

  Segment* next = nullptr;
  const std::byte* data = nullptr;  // the next byte to send; null for a file
  std::uint64_t length = 0;         // remaining bytes, never 0 in a queue
  Owner owner;
};

// Callers allocate before they change anything, so that std::bad_alloc leaves the queue unchanged.
OutputQueue::Segment* OutputQueue::new_block(std::size_t bytes) {
  const auto* last = back_ != nullptr ? std::get_if<Segment::Block>(&back_->owner) : nullptr;
  std::size_t size = kBlock;
  if (last != nullptr && last->allocation >= kBlock) {
    size = std::min(last->allocation * 4, kLargeBlock);
  } else if (last == nullptr && back_ != nullptr) {
    size = kSmallBlock;
  }
  const std::size_t wanted = sizeof(Segment) + bytes;
  if (wanted > size) size = std::max(wanted, kBlock);
  void* memory = allocate(size);
  return ::new (memory) Segment(Segment::Block{.allocation = size, .room = size - sizeof(Segment)});
}

// Copies `bytes` to the free end of a block.
void OutputQueue::write_into(Segment& segment, std::span<const std::byte> bytes) {
  auto& block = std::get<Segment::Block>(segment.owner);
  auto* target = reinterpret_cast<std::byte*>(&segment) + (block.allocation - block.room);
  std::memcpy(target, bytes.data(), bytes.size());
  if (segment.length == 0) segment.data = target;
  segment.length += bytes.size();
  block.room -= bytes.size();
  size_ += bytes.size();
  cost_ += bytes.size();
}

void OutputQueue::link(Segment* segment) {
  cost_ += kSegmentSize;
  (back_ == nullptr ? front_ : back_->next) = segment;
  back_ = segment;
}

void OutputQueue::append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  check_growth(bytes.size());
  const std::size_t here = std::min(bytes.size(), room());
  Segment* fresh = here < bytes.size() ? new_block(bytes.size() - here) : nullptr;
  if (here > 0) write_into(*back_, bytes.first(here));
  if (fresh != nullptr) {
    write_into(*fresh, bytes.subspan(here));
    link(fresh);
  }
  check_invariants();
}

void OutputQueue::append(std::string&& bytes) {
  // A string of mostly unused capacity is copied, too: it would hold more memory than it sends.
  if (bytes.size() < kTakeOver || bytes.size() < bytes.capacity() / 2) {
    append(std::string_view(bytes));
    return;
  }
  check_growth(bytes.size());
  auto* segment = ::new (allocate(kSegmentSize)) Segment(std::move(bytes));
  const auto& text = std::get<std::string>(segment->owner);
  segment->data = reinterpret_cast<const std::byte*>(text.data());
  segment->length = text.size();
  size_ += text.size();
  cost_ += text.size();
  link(segment);
  check_invariants();
}

void OutputQueue::append(SharedBytes bytes) {
  if (bytes.size() <= std::min(kCopyShared, room())) {
    append(bytes.bytes());
    return;
  }
  if (bytes.empty()) return;
  check_growth(bytes.size());
  auto* segment = ::new (allocate(kSegmentSize)) Segment(std::move(bytes));
  const auto& shared = std::get<SharedBytes>(segment->owner);
  segment->data = shared.data();
  segment->length = shared.size();
  size_ += shared.size();
  cost_ += shared.size();
  link(segment);
  check_invariants();
}

void OutputQueue::append_file(Fd file, std::uint64_t offset, std::uint64_t length) {
  constexpr std::uint64_t kLargestOffset = std::numeric_limits<std::int64_t>::max();
  WEIR_CHECK(offset <= kLargestOffset && length <= kLargestOffset - offset,
             "OutputQueue::append_file(offset {}, length {}): beyond the largest file", offset,
             length);
  WEIR_CHECK(file.valid(), "OutputQueue::append_file(): the Fd is empty");
  if (length == 0) return;
  check_growth(length);
  auto* segment = ::new (allocate(kSegmentSize))
      Segment(Segment::File{.file = std::move(file), .offset = offset});
  segment->length = length;
  size_ += length;
  ++files_;
  link(segment);
  check_invariants();
}

std::size_t OutputQueue::fill(std::span<iovec> iovecs) const {
  std::size_t filled = 0;
  for (const Segment* segment = front_; segment != nullptr && filled < iovecs.size();
       segment = segment->next) {
    if (segment->is_file()) break;
    // iovec is for reading and writing; writev(2) only reads the bytes.
    iovecs[filled++] = {.iov_base = const_cast<std::byte*>(segment->data),
                        .iov_len = segment->length};
  }
  return filled;
}

OutputQueue::FileRange OutputQueue::front_file() const {
  const auto* file = front_ != nullptr ? std::get_if<Segment::File>(&front_->owner) : nullptr;
  if (file == nullptr) return {};
  return {.fd = file->file.get(), .offset = file->offset, .length = front_->length};
}

void OutputQueue::consume(std::uint64_t n) {
  WEIR_CHECK(n <= size_, "OutputQueue::consume({}): the queue has only {} bytes", n, size_);
  size_ -= n;
  while (n > 0) {
    Segment& segment = *front_;
    if (n < segment.length) {
      segment.length -= n;
      if (auto* file = std::get_if<Segment::File>(&segment.owner)) {
        file->offset += n;
      } else {
        segment.data += n;
        cost_ -= n;
      }
      break;
    }
    n -= segment.length;
    pop_front();
  }
  check_invariants();
}

void OutputQueue::pop_front() {
  Segment* segment = front_;
  cost_ -= kSegmentSize + (segment->is_file() ? 0 : segment->length);
  if (segment->is_file()) --files_;
  front_ = segment->next;
  if (front_ == nullptr) back_ = nullptr;
  const auto* block = std::get_if<Segment::Block>(&segment->owner);
  const std::size_t allocation = block != nullptr ? block->allocation : kSegmentSize;
  std::destroy_at(segment);
  deallocate(segment, allocation);
}

std::size_t OutputQueue::room() const {
  const auto* block = back_ != nullptr ? std::get_if<Segment::Block>(&back_->owner) : nullptr;
  return block != nullptr ? block->room : 0;
}

void OutputQueue::check_growth(std::uint64_t n) const {
  WEIR_CHECK(n <= std::numeric_limits<std::uint64_t>::max() - size_,
             "OutputQueue: {} more bytes than {} exceed 2^64", n, size_);
}

void OutputQueue::check_invariants() const {
  WEIR_DCHECK((front_ == nullptr) == (back_ == nullptr), "OutputQueue: one end is missing");
  WEIR_DCHECK((front_ == nullptr) == (size_ == 0),
              "OutputQueue 4: size() is {}, but the queue is {}", size_,
              front_ == nullptr ? "empty" : "not");
  if (front_ == nullptr) {
    WEIR_DCHECK(cost_ == 0 && files_ == 0,
                "OutputQueue 1: an empty queue costs {} and has {} files", cost_, files_);
    return;
  }
  WEIR_DCHECK(back_->next == nullptr, "OutputQueue: the back is not the last segment");
  WEIR_DCHECK(front_->length > 0 && back_->length > 0, "OutputQueue 2: a segment is empty");
  WEIR_DCHECK(front_ == back_ ? size_ == front_->length : size_ > front_->length,
              "OutputQueue 1: size() is {}, the first segment has {} bytes", size_, front_->length);
  WEIR_DCHECK(cost_ >= kSegmentSize, "OutputQueue 1: cost() is {}", cost_);
}

std::size_t OutputQueue::memory() const {
  static_assert(sizeof(Segment) == kSegmentSize && kSegmentSize % internal::kCacheLine == 0);
  std::size_t total = 0;
  std::uint64_t size = 0;
  std::uint64_t cost = 0;
  std::size_t files = 0;
  for (const Segment* segment = front_; segment != nullptr; segment = segment->next) {
    const auto* block = std::get_if<Segment::Block>(&segment->owner);
    total += block != nullptr ? block->allocation : kSegmentSize;
    if (const auto* text = std::get_if<std::string>(&segment->owner)) total += text->capacity() + 1;
    WEIR_CHECK(segment->length > 0, "OutputQueue 2: a segment is empty");
    size += segment->length;
    cost += kSegmentSize + (segment->is_file() ? 0 : segment->length);
    if (segment->is_file()) ++files;
  }
  WEIR_CHECK(size == size_ && cost == cost_ && files == files_,
             "OutputQueue 1: size {}, cost {}, files {}; the segments have {}, {}, {}", size_,
             cost_, files_, size, cost, files);
  return total;
}

void OutputQueue::release_cache() { empty_cache(); }

}  // namespace weir
