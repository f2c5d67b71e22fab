// SharedBytes: an immutable, reference-counted slice of bytes. One encoded message can be queued on
// any number of connections, on any number of threads, without a copy. [any]
#pragma once

#include "weir/base/requirements.h"

#include <atomic>
#include <cstddef>
#include <span>
#include <string_view>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

class SharedBytes {
 public:
  SharedBytes() = default;
  // Copies `bytes` once, into one allocation that also holds the reference count.
  static SharedBytes copy(std::string_view bytes);
  static SharedBytes copy(std::span<const std::byte> bytes);

  SharedBytes(const SharedBytes& other) noexcept;
  SharedBytes(SharedBytes&& other) noexcept;
  SharedBytes& operator=(SharedBytes other) noexcept;
  ~SharedBytes();

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // A slice that shares the same memory. `offset` and `length` are limited to size().
  SharedBytes slice(std::size_t offset, std::size_t length = static_cast<std::size_t>(-1)) const;

  // The number of slices that share the memory; for tests and statistics.
  std::size_t use_count() const;

 private:
  struct Block;
  Block* block_ = nullptr;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace weir
