// Buffer: a growable, contiguous queue of bytes: append at the end, consume from the front.
//
// Invariants: 1. readable bytes are contiguous; 2. when empty, both cursors are at the start;
// 3. appending n bytes one at a time moves O(n) bytes in total; 4. a Buffer either owns its memory
// or uses a block that the loop lent it (lend()), which it leaves before the loan ends; 5. an empty
// Buffer owns at most kKeptCapacity bytes.
//
// [one thread] The next non-const call invalidates all views into a Buffer (ASan builds detect the
// use of such a view).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/poison.h"

namespace WEIR_EXPORT weir {

class Buffer {
 public:
  static constexpr std::size_t npos = std::string_view::npos;
  // An empty Buffer keeps up to this much memory for the next bytes and frees larger memory.
  static constexpr std::size_t kKeptCapacity = 64 * 1024;

  Buffer() = default;
  explicit Buffer(std::string_view bytes) { append(bytes); }
  // Take over the memory of `other`, or copy the bytes if the memory is lent. `other` is empty
  // afterwards.
  Buffer(Buffer&& other);
  Buffer& operator=(Buffer&& other);
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (owned_) [[unlikely]]
      release();
    else
      internal::poison({memory_, capacity_});
  }

  const std::byte* data() const { return memory_ + begin_; }
  std::size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data()), size()}; }
  std::span<const std::byte> bytes() const { return {data(), size()}; }

  // Discards the first n bytes. n > size() is a bug of the caller (CHECK).
  void consume(std::size_t n) {
    if (n > size()) [[unlikely]]
      too_many("consume", n, size());
    internal::poison({memory_ + begin_, n});
    begin_ += n;
    progress_ = 0;
    if (begin_ == end_) start_again();
  }
  void clear() { consume(size()); }
  // Removes the first n bytes, or all bytes, and returns them. n as for consume().
  std::string take(std::size_t n);
  std::string take() { return take(size()); }

  // Copies `bytes`, which may be part of this Buffer.
  void append(std::string_view bytes) { append(std::as_bytes(std::span(bytes))); }
  void append(std::span<const std::byte> bytes) {
    if (bytes.size() > capacity_ - end_) [[unlikely]] {
      append_growing(bytes);
    } else if (!bytes.empty()) {
      internal::unpoison({memory_ + end_, bytes.size()});
      std::memcpy(memory_ + end_, bytes.data(), bytes.size());
      end_ += bytes.size();
    }
  }

  // Position of `needle` at or after `from`, or npos. Linear in size().
  std::size_t find(std::string_view needle, std::size_t from = 0) const;

  // Integers in network byte order (RFC 1700). peek_ and read_ return nullopt when the Buffer has
  // too few bytes.
  std::optional<std::uint8_t> peek_u8() const { return peek<std::uint8_t>(); }
  std::optional<std::uint16_t> peek_u16() const { return peek<std::uint16_t>(); }
  std::optional<std::uint32_t> peek_u32() const { return peek<std::uint32_t>(); }
  std::optional<std::uint64_t> peek_u64() const { return peek<std::uint64_t>(); }
  std::optional<std::uint8_t> read_u8() { return read<std::uint8_t>(); }
  std::optional<std::uint16_t> read_u16() { return read<std::uint16_t>(); }
  std::optional<std::uint32_t> read_u32() { return read<std::uint32_t>(); }
  std::optional<std::uint64_t> read_u64() { return read<std::uint64_t>(); }
  void append_u8(std::uint8_t value) { append_integer(value); }
  void append_u16(std::uint16_t value) { append_integer(value); }
  void append_u32(std::uint32_t value) { append_integer(value); }
  void append_u64(std::uint64_t value) { append_integer(value); }

  // Free space of at least `n` bytes behind the readable bytes, to be written into directly; then
  // call commit(written). Grows if needed: it doubles the memory, but to at most `most` bytes
  // unless the `n` bytes need more. Throws std::bad_alloc, and std::length_error if the size would
  // exceed PTRDIFF_MAX.
  std::span<std::byte> prepare(std::size_t n, std::size_t most = npos) {
    if (n > capacity_ - end_) grow(n, most);
    return free_tail();
  }
  // The free space behind the readable bytes, without growing.
  std::span<std::byte> free_tail() {
    internal::unpoison({memory_ + end_, capacity_ - end_});
    return {memory_ + end_, capacity_ - end_};
  }
  // Makes the first n bytes of the span from prepare() or free_tail() readable. A larger n is a bug
  // of the caller (CHECK).
  void commit(std::size_t n) {
    if (n > capacity_ - end_) [[unlikely]]
      too_many("commit", n, capacity_ - end_);
    end_ += n;
  }

  // A number for the parser of the bytes: how many bytes at the front it has examined without
  // finding a complete message. At most 2^32 - 1 is stored. It moves together with the bytes, and
  // consume() resets it to 0.
  std::size_t progress() const { return progress_; }
  void set_progress(std::size_t progress) {
    constexpr std::uint32_t kMost = (std::numeric_limits<std::uint32_t>::max)();
    progress_ = progress < kMost ? static_cast<std::uint32_t>(progress) : kMost;
  }

  // Copies the bytes into memory that fits them and frees the old memory. Does nothing if there is
  // no memory for the copy.
  void shrink_to_fit();
  // Memory owned (0 while lent or never used).
  std::size_t capacity() const { return owned_ ? capacity_ : 0; }

  // -- for the framework ------------------------------------------------------------------------
  // Lends `block`, whose first `used` bytes are readable. The Buffer must have no memory (CHECK).
  // append() uses the rest of the block as long as it suffices, and then moves all bytes to owned
  // memory.
  void lend(std::span<std::byte> block, std::size_t used) {
    if (memory_ != nullptr || used > block.size()) [[unlikely]]
      bad_loan(block.size(), used);
    internal::unpoison(block.first(used));
    memory_ = block.data();
    capacity_ = block.size();
    end_ = used;
  }
  bool lent() const { return memory_ != nullptr && !owned_; }
  // Ends the loan: discards the block with its unread bytes. Does nothing when the bytes have moved
  // to owned memory. Under ASan the block is then poisoned: internal::unpoison() it before writing
  // to it again.
  void end_loan() {
    if (!lent()) return;
    release();
    progress_ = 0;
  }

 private:
  [[noreturn]] void bad_loan(std::size_t size, std::size_t used) const;
  [[noreturn]] static void too_many(const char* call, std::size_t n, std::size_t limit);

  template <typename T>
  static T network_order(T value) {
    if constexpr (std::endian::native == std::endian::little) {
      return std::byteswap(value);
    } else {
      return value;
    }
  }
  template <typename T>
  std::optional<T> peek() const {
    if (size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, data(), sizeof value);
    return network_order(value);
  }
  template <typename T>
  std::optional<T> read() {
    const std::optional<T> value = peek<T>();
    if (value) consume(sizeof(T));
    return value;
  }
  template <typename T>
  void append_integer(T value) {
    value = network_order(value);
    append(std::as_bytes(std::span(&value, 1)));
  }

  void start_again() {
    begin_ = end_ = 0;
    if (capacity_ > kKeptCapacity && owned_) [[unlikely]]
      release();
  }
  // Makes capacity_ - end_ at least `needed`.
  void grow(std::size_t needed, std::size_t most = npos);
  void move_to(std::byte* fresh, std::size_t capacity);
  void append_growing(std::span<const std::byte> bytes);
  // Gives the memory back to the heap or to its lender.
  void release();
  void steal(Buffer& other);

  std::byte* memory_ = nullptr;
  std::size_t capacity_ = 0;  // of memory_, owned or lent
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint32_t progress_ = 0;
  bool owned_ = false;
};

}  // namespace weir
