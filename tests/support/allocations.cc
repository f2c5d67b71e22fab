#include "support/allocations.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "support/valgrind.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEIR_TEST_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define WEIR_TEST_COUNTS_ALLOCATIONS 0
#else
#define WEIR_TEST_COUNTS_ALLOCATIONS 1
#endif
#else
#define WEIR_TEST_COUNTS_ALLOCATIONS 1
#endif

namespace {

constinit std::atomic<std::uint64_t> all_allocations{0};
constinit std::atomic<std::int64_t> live_blocks{0};
constinit std::atomic<std::int64_t> live_bytes{0};
constinit thread_local std::uint64_t thread_allocations = 0;
constinit thread_local std::uint64_t until_failure = 0;  // 0: the next one fails
constinit thread_local std::uint64_t left_to_fail = 0;
constinit thread_local int spared = 0;

#if WEIR_TEST_COUNTS_ALLOCATIONS
void fail_if_due() {
  if (left_to_fail == 0 || spared > 0) return;
  if (until_failure > 0) {
    --until_failure;
    return;
  }
  --left_to_fail;
  throw std::bad_alloc();
}

void* counted(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  ++thread_allocations;
  all_allocations.fetch_add(1, std::memory_order_relaxed);
  live_blocks.fetch_add(1, std::memory_order_relaxed);
  live_bytes.fetch_add(static_cast<std::int64_t>(::malloc_usable_size(block)),
                       std::memory_order_relaxed);
  return block;
}

void counted_free(void* block) noexcept {
  if (block == nullptr) return;
  live_blocks.fetch_sub(1, std::memory_order_relaxed);
  live_bytes.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(block)),
                       std::memory_order_relaxed);
  std::free(block);
}
#endif

}  // namespace

#if WEIR_TEST_COUNTS_ALLOCATIONS
// The other forms of new and delete call these.
void* operator new(std::size_t size) {
  fail_if_due();
  return counted(std::malloc(size == 0 ? 1 : size));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  fail_if_due();
  const auto align = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(align, (size + align - 1) / align * align));
}
void operator delete(void* block) noexcept { counted_free(block); }
void operator delete(void* block, std::size_t) noexcept { counted_free(block); }
void operator delete(void* block, std::align_val_t) noexcept { counted_free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { counted_free(block); }
#endif

namespace weir::test {

bool AllocationCount::available() { return WEIR_TEST_COUNTS_ALLOCATIONS != 0 && !under_valgrind(); }

AllocationCount::AllocationCount()
    : thread_(thread_allocations), all_(all_allocations.load(std::memory_order_relaxed)) {}

std::uint64_t AllocationCount::on_this_thread() const { return thread_allocations - thread_; }

std::uint64_t AllocationCount::on_all_threads() const {
  return all_allocations.load(std::memory_order_relaxed) - all_;
}

LiveHeap live_heap() {
  return {live_blocks.load(std::memory_order_relaxed), live_bytes.load(std::memory_order_relaxed)};
}

FailAllocation::FailAllocation(std::uint64_t nth, std::uint64_t count) : nth_(nth), count_(count) {
  until_failure = nth - 1;
  left_to_fail = count;
}
FailAllocation::~FailAllocation() { left_to_fail = 0; }
std::uint64_t FailAllocation::failures() const { return count_ - left_to_fail; }
std::uint64_t FailAllocation::passed() const { return nth_ - 1 - until_failure; }

SpareAllocations::SpareAllocations() { ++spared; }
SpareAllocations::~SpareAllocations() { --spared; }

HeapCheck::~HeapCheck() {
  const LiveHeap after = live_heap();
  if (after.blocks == before_.blocks) return;
  ADD_FAILURE() << "left on the heap: " << after.blocks - before_.blocks << " blocks, "
                << after.bytes - before_.bytes << " bytes";
}

}  // namespace weir::test
