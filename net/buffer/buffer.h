// Buffer: a growable, contiguous queue of bytes: append at the end, consume from the front.
//
// Invariants: 1. readable bytes are contiguous; 2. when empty, both cursors stand at the start;
// 3. appending n bytes one at a time moves O(n) bytes in all; 4. a Buffer either owns its memory or
// has been lent a block by the loop (lend()), and then copies out before it outlives the loan.
// Not thread-safe. Views into a Buffer end with the next non-const call on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weir {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::string_view bytes) { append(bytes); }
  Buffer(Buffer&& other);             // copies when `other` holds lent memory
  Buffer& operator=(Buffer&& other);  // likewise
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  const std::byte* data() const { return memory_ + begin_; }
  std::size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  std::string_view view() const;
  std::span<const std::byte> bytes() const { return {data(), size()}; }

  // Drops the first n bytes. n > size() is a bug of the caller (CHECK).
  void consume(std::size_t n);
  void clear() { consume(size()); }
  // Takes the first n bytes as a string / all of them.
  std::string take(std::size_t n);
  std::string take() { return take(size()); }

  void append(std::string_view bytes);
  void append(std::span<const std::byte> bytes);

  // Position of `needle` at or after `from`, or npos.
  static constexpr std::size_t npos = std::string_view::npos;
  std::size_t find(std::string_view needle, std::size_t from = 0) const;

  // Integers in network byte order (RFC 1700). peek_ and read_ return nullopt when too few bytes are there.
  std::optional<std::uint8_t> peek_u8() const;
  std::optional<std::uint16_t> peek_u16() const;
  std::optional<std::uint32_t> peek_u32() const;
  std::optional<std::uint64_t> peek_u64() const;
  std::optional<std::uint8_t> read_u8();
  std::optional<std::uint16_t> read_u16();
  std::optional<std::uint32_t> read_u32();
  std::optional<std::uint64_t> read_u64();
  void append_u8(std::uint8_t value);
  void append_u16(std::uint16_t value);
  void append_u32(std::uint32_t value);
  void append_u64(std::uint64_t value);

  // Room to write into directly (at least `n` bytes, growing if needed); follow with commit(written).
  std::span<std::byte> prepare(std::size_t n);
  // What is free behind the readable bytes without growing.
  std::span<std::byte> free_tail() { return {memory_ + end_, capacity_ - end_}; }
  void commit(std::size_t n);

  // Memory owned (0 while lent or never used).
  std::size_t capacity() const { return owned_ ? capacity_ : 0; }

  // -- for the framework ------------------------------------------------------------------------
  // Lends `block`, whose first `used` bytes are readable. The Buffer must be empty and own nothing.
  void lend(std::span<std::byte> block, std::size_t used);
  bool lent() const { return memory_ != nullptr && !owned_; }
  // Ends the loan: forgets the block and whatever is still unread in it.
  void end_loan();

 private:
  void grow(std::size_t needed);

  std::byte* memory_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool owned_ = false;
};

}  // namespace weir
