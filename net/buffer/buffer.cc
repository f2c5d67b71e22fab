#include "weir/net/buffer/buffer.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

#include "weir/base/aligned_bytes.h"
#include "weir/base/check_format.h"

namespace weir {
namespace {

constexpr std::size_t kSmallestCapacity = 256;
constexpr std::size_t kLargestCapacity = std::numeric_limits<std::ptrdiff_t>::max();

}  // namespace

Buffer::Buffer(Buffer&& other) { steal(other); }

Buffer& Buffer::operator=(Buffer&& other) {
  if (this != &other) {
    release();
    steal(other);
  }
  return *this;
}

// [this holds no memory]
void Buffer::steal(Buffer& other) {
  progress_ = std::exchange(other.progress_, 0);
  if (other.lent()) {
    append(other.bytes());
    other.clear();
    return;
  }
  memory_ = std::exchange(other.memory_, nullptr);
  capacity_ = std::exchange(other.capacity_, 0);
  begin_ = std::exchange(other.begin_, 0);
  end_ = std::exchange(other.end_, 0);
  owned_ = std::exchange(other.owned_, false);
}

void Buffer::release() {
  if (owned_) {
    internal::free_aligned(memory_);
  } else {
    internal::poison({memory_, capacity_});
  }
  memory_ = nullptr;
  capacity_ = begin_ = end_ = 0;
  owned_ = false;
}

void Buffer::grow(std::size_t needed, std::size_t most) {
  const std::size_t used = size();
  if (needed > kLargestCapacity - used) throw std::length_error("weir::Buffer: size too large");

  // Moving `used` bytes is amortised: at least as many bytes were consumed before.
  if (begin_ >= used && needed <= capacity_ - used) {
    internal::unpoison({memory_, used});
    if (used > 0) std::memmove(memory_, data(), used);
    internal::poison({memory_ + used, end_ - used});
    begin_ = 0;
    end_ = used;
    return;
  }

  // Doubling: each byte is copied O(1) times on average.
  const std::size_t base = owned_ ? capacity_ : used;
  const std::size_t twice = std::min(base, kLargestCapacity / 2) * 2;
  const std::size_t fresh_capacity =
      std::max({kSmallestCapacity, std::min(twice, most), used + needed});
  move_to(internal::allocate_aligned(fresh_capacity), fresh_capacity);
}

void Buffer::shrink_to_fit() {
  const std::size_t fitting = std::max(kSmallestCapacity, size());
  if (!owned_ || fitting >= capacity_) return;
  try {
    move_to(internal::allocate_aligned(fitting), fitting);
  } catch (const std::bad_alloc&) {
    return;  // keeps the memory it has
  }
}

void Buffer::move_to(std::byte* fresh, std::size_t capacity) {
  const std::size_t used = size();
  if (used > 0) std::memcpy(fresh, data(), used);
  release();
  memory_ = fresh;
  capacity_ = capacity;
  end_ = used;
  owned_ = true;
}

void Buffer::append_growing(std::span<const std::byte> bytes) {
  const std::less<> before;
  const bool inside = memory_ != nullptr && !before(bytes.data(), memory_) &&
                      before(bytes.data(), memory_ + capacity_);
  if (inside) {
    const std::string copy(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    grow(copy.size());
    append(copy);
  } else {
    grow(bytes.size());
    append(bytes);
  }
}

std::string Buffer::take(std::size_t n) {
  if (n > size()) too_many("take", n, size());
  std::string taken(view().substr(0, n));
  consume(n);
  return taken;
}

std::size_t Buffer::find(std::string_view needle, std::size_t from) const {
  if (from > size()) return npos;
  if (needle.empty()) return from;
  if (needle.size() > size() - from) return npos;
  // memmem(3) is linear for every needle; std::string_view::find is not.
  const void* hit = ::memmem(data() + from, size() - from, needle.data(), needle.size());
  if (hit == nullptr) return npos;
  return static_cast<std::size_t>(static_cast<const std::byte*>(hit) - data());
}

void Buffer::bad_loan(std::size_t size, std::size_t used) const {
  WEIR_CHECK(memory_ == nullptr, "Buffer::lend(): the buffer already has memory ({} bytes)",
             capacity_);
  WEIR_CHECK(used <= size, "Buffer::lend(): {} bytes used of {}", used, size);
  std::unreachable();
}

void Buffer::too_many(const char* call, std::size_t n, std::size_t limit) {
  WEIR_CHECK(n <= limit, "Buffer::{}({}): the limit is {} bytes", call, n, limit);
  std::unreachable();
}

}  // namespace weir
