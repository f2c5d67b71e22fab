// Counts calls of operator new, for tests of "no allocation" and "nothing is left". [any]
//
// Sanitizers and Valgrind have their own operator new. With them nothing is counted (available() is
// false), and the checks pass: these tools look for leaks instead.
#pragma once

#include <cstdint>

namespace weir::test {

// Allocations since it was made.
class AllocationCount {
 public:
  AllocationCount();
  static bool available();
  std::uint64_t on_this_thread() const;
  std::uint64_t on_all_threads() const;

 private:
  std::uint64_t thread_;
  std::uint64_t all_;
};

struct LiveHeap {
  std::int64_t blocks = 0;
  std::int64_t bytes = 0;
};
// Memory of the whole process that is allocated and not freed; zeroes when not available.
LiveHeap live_heap();

// Fails the test when the number of live blocks at the end of its scope differs from the number at
// the start. Make it at the start of the test, after the calls that fill lasting caches.
class HeapCheck {
 public:
  HeapCheck() : before_(live_heap()) {}
  ~HeapCheck();
  HeapCheck(const HeapCheck&) = delete;
  HeapCheck& operator=(const HeapCheck&) = delete;
  // Bytes more than at the start.
  std::int64_t grown() const { return live_heap().bytes - before_.bytes; }

 private:
  const LiveHeap before_;
};

// While it lives, the nth allocation of this thread and those after it, `count` together, throw
// std::bad_alloc. It does nothing when allocations are not counted (see available()).
class FailAllocation {
 public:
  explicit FailAllocation(std::uint64_t nth, std::uint64_t count = 1);
  ~FailAllocation();
  FailAllocation(const FailAllocation&) = delete;
  FailAllocation& operator=(const FailAllocation&) = delete;
  // The number of allocations that failed.
  std::uint64_t failures() const;
  bool happened() const { return failures() > 0; }
  // The number of allocations before the first that failed.
  std::uint64_t passed() const;

 private:
  const std::uint64_t nth_;
  const std::uint64_t count_;
};

// While it lives, allocations of this thread are those of the test: they do not fail, and
// FailAllocation does not count them.
class SpareAllocations {
 public:
  SpareAllocations();
  ~SpareAllocations();
  SpareAllocations(const SpareAllocations&) = delete;
  SpareAllocations& operator=(const SpareAllocations&) = delete;
};

}  // namespace weir::test
