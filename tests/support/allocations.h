// Counts what goes through operator new, so that tests can say "no allocation" and "nothing left".
// [any]
//
// Sanitizers bring their own operator new; there nothing is counted (available() is false) and the
// checks pass, because LeakSanitizer does that part.
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
// What is allocated and not freed in the whole process; zeroes when not available.
LiveHeap live_heap();

// Fails the test when its scope ends with another number of live blocks than it began with. First
// in a test, after whatever fills caches that live on.
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

// While it lives, the nth allocation of this thread throws std::bad_alloc; once. Where nothing is
// counted (see available()) it does nothing.
class FailAllocation {
 public:
  explicit FailAllocation(std::uint64_t nth);
  ~FailAllocation();
  FailAllocation(const FailAllocation&) = delete;
  FailAllocation& operator=(const FailAllocation&) = delete;
  bool happened() const;
};

}  // namespace weir::test
