// The process's budget of buffered bytes, set for the length of a test. [any]
#pragma once

#include <cstdint>

#include "weir/net/stream/buffer_budget.h"

namespace weir::test {

class ScopedBudget {
 public:
  explicit ScopedBudget(std::uint64_t bytes) { set_buffer_budget(bytes); }
  ~ScopedBudget() { set_buffer_budget(before_); }
  ScopedBudget(const ScopedBudget&) = delete;
  ScopedBudget& operator=(const ScopedBudget&) = delete;

 private:
  const std::uint64_t before_ = buffer_budget();
};

}  // namespace weir::test
