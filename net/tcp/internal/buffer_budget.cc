#include "weir/net/tcp/internal/buffer_budget.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "weir/net/tcp/buffer_budget.h"
#include "weir/net/tcp/internal/memory_limit.h"

namespace weir {

namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

// Signed, because one loop may tell of what it gave back before another tells of what it took.
constinit std::atomic<std::int64_t> total{0};

std::uint64_t quarter_of_memory() {
  const std::uint64_t memory = internal::memory_limit();
  return memory == 0 ? kNone : memory / 4;
}

std::atomic<std::uint64_t>& limit() {
  static std::atomic<std::uint64_t> bytes{quarter_of_memory()};
  return bytes;
}

bool fits(std::uint64_t held, std::uint64_t size, std::uint64_t bound) {
  return held <= bound && size <= bound - held;
}

}  // namespace

void set_buffer_budget(std::uint64_t bytes) {
  limit().store(bytes == 0 ? kNone : bytes, std::memory_order_relaxed);
}

std::uint64_t buffer_budget() {
  const std::uint64_t bytes = limit().load(std::memory_order_relaxed);
  return bytes == kNone ? 0 : bytes;
}

std::uint64_t buffered_bytes() {
  const std::int64_t sum = total.load(std::memory_order_relaxed);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(sum, 0));
}

namespace internal {

// The bound of the process is looked for now: to read files is not for when the first bytes wait.
BufferBudget::BufferBudget(std::uint64_t limit) : limit_(limit) {
  static_cast<void>(weir::limit());
}

BufferBudget::~BufferBudget() {
  unreported_ -= static_cast<std::int64_t>(held());
  report();
}

void BufferBudget::change(std::uint64_t before, std::uint64_t after) {
  const auto difference = static_cast<std::int64_t>(after - before);
  held_.add(after - before);  // modulo 2^64, so this subtracts, too
  unreported_ += difference;
  if (unreported_ >= kBatch || unreported_ <= -kBatch || held() == 0) report();
}

void BufferBudget::report() {
  if (unreported_ == 0) return;
  total.fetch_add(std::exchange(unreported_, 0), std::memory_order_relaxed);
}

bool BufferBudget::has_room(std::uint64_t size) const {
  if (limit_ != 0 && !fits(held(), size, limit_)) return false;
  const std::int64_t sum = total.load(std::memory_order_relaxed) + unreported_;
  return fits(static_cast<std::uint64_t>(std::max<std::int64_t>(sum, 0)), size,
              limit().load(std::memory_order_relaxed));
}

}  // namespace internal
}  // namespace weir
