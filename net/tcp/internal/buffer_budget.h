// BufferBudget: what the connections of one group buffer, counted against a bound of the group's
// and against the process's. O(1), and nothing at all where nothing is buffered. Internal to the
// tcp floor. [loop] unless marked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "weir/base/counter.h"

namespace weir::internal {

class BufferBudget {
 public:
  // The process's sum is told of changes only when they come to so much: one shared cache line is
  // touched once for sixteen pages buffered.
  static constexpr std::int64_t kBatch = 64 * 1024;
  // What one connection may hold whatever the others do: a handler's gathered answers. So those
  // that keep little are not the ones who pay for those that keep much.
  static constexpr std::uint64_t kOwnShare = 64 * 1024;

  // 0: only the process's bound.
  explicit BufferBudget(std::uint64_t limit);
  ~BufferBudget();
  BufferBudget(const BufferBudget&) = delete;
  BufferBudget& operator=(const BufferBudget&) = delete;

  // A connection that held `before` bytes holds `after` now.
  void change(std::uint64_t before, std::uint64_t after);

  // Whether `size` more bytes may be buffered.
  bool has_room(std::uint64_t size) const;

  std::uint64_t held() const { return held_.value(); }  // [any]

 private:
  void report();

  const std::uint64_t limit_;
  Counter held_;
  std::int64_t unreported_ = 0;  // to the process's sum; less than kBatch either way
};

}  // namespace weir::internal
