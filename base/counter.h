// Counter: a statistic that one thread writes and any thread reads. Adding costs as much as for a
// plain integer.
#pragma once

#include "weir/base/requirements.h"

#include <atomic>
#include <cstdint>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

class Counter {
 public:
  // [owner thread]
  void add(std::uint64_t n) { value_.store(value() + n, std::memory_order_relaxed); }
  void operator++() { add(1); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  // [any]
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace weir
