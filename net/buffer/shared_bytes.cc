#include "weir/net/buffer/shared_bytes.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "weir/base/aligned_bytes.h"

namespace weir {

// Precedes the bytes in the same allocation. It fills a cache line, so that the bytes begin at the
// next one.
struct alignas(internal::kCacheLine) SharedBytes::Block {
  std::atomic<std::size_t> users{1};
};

SharedBytes SharedBytes::copy(std::string_view bytes) {
  return copy(std::as_bytes(std::span(bytes)));
}

SharedBytes SharedBytes::copy(std::span<const std::byte> bytes) {
  SharedBytes result;
  if (bytes.empty()) return result;
  void* memory = internal::allocate_aligned(sizeof(Block) + bytes.size());
  result.block_ = ::new (memory) Block;
  auto* target = static_cast<std::byte*>(memory) + sizeof(Block);
  std::memcpy(target, bytes.data(), bytes.size());
  result.data_ = target;
  result.size_ = bytes.size();
  return result;
}

SharedBytes::SharedBytes(const SharedBytes& other) noexcept
    : block_(other.block_), data_(other.data_), size_(other.size_) {
  // Relaxed: the caller already holds a reference, which keeps the block alive.
  if (block_ != nullptr) block_->users.fetch_add(1, std::memory_order_relaxed);
}

SharedBytes::SharedBytes(SharedBytes&& other) noexcept
    : block_(std::exchange(other.block_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SharedBytes& SharedBytes::operator=(SharedBytes other) noexcept {
  std::swap(block_, other.block_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SharedBytes::~SharedBytes() {
  // Release: our reads come before the free. Acquire: the free comes after the reads of all others.
  if (block_ == nullptr || block_->users.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  std::destroy_at(block_);
  internal::free_aligned(block_);
}

std::string_view SharedBytes::view() const { return {reinterpret_cast<const char*>(data_), size_}; }

SharedBytes SharedBytes::slice(std::size_t offset, std::size_t length) const {
  offset = std::min(offset, size_);
  length = std::min(length, size_ - offset);
  if (length == 0) return {};  // keeps no memory alive
  SharedBytes result(*this);
  result.data_ += offset;
  result.size_ = length;
  return result;
}

std::size_t SharedBytes::use_count() const {
  return block_ == nullptr ? 0 : block_->users.load(std::memory_order_relaxed);
}

}  // namespace weir
