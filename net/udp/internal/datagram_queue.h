// DatagramQueue: datagrams that the socket did not take yet, one behind the other in one block of
// memory. Internal to the udp floor. [loop]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/net/udp/datagram.h"

namespace weir::internal {

// A datagram on its way to the kernel, besides its bytes. Refers to memory that stays until it is
// there.
struct Outgoing {
  AddressView to;               // empty: the connected peer
  const void* info = nullptr;   // as Datagram::packet_info: the address to answer from
  std::uint32_t info_size = 0;  // 0: the kernel chooses
  std::uint64_t number = 0;
};

class DatagramQueue {
 public:
  // Memory that is kept when the queue is empty: what a burst of one turn needs.
  static constexpr std::size_t kKept = 256 * 1024;

  bool empty() const { return count_ == 0; }
  std::size_t count() const { return count_; }
  // Counts the bookkeeping, too.
  std::size_t bytes() const { return data_.size() - head_; }
  static std::size_t cost(const Outgoing& out, std::size_t size);

  void push(const Outgoing& out, std::span<const std::byte> bytes);
  // Calls take(outgoing, bytes) for the first of them, until it says false. The views end with the
  // next push or pop.
  template <typename Take>
  void look(Take take) const {
    for (std::size_t at = head_; at < data_.size();) {
      Outgoing out;
      std::span<const std::byte> bytes;
      at = read(at, out, bytes);
      if (!take(out, bytes)) return;
    }
  }
  void pop(std::size_t count);
  void clear() { pop(count_); }

 private:
  struct Head {
    std::uint64_t number;
    std::uint32_t size;
    std::uint16_t name_size;
    std::uint16_t info_size;
  };
  std::size_t read(std::size_t at, Outgoing& out, std::span<const std::byte>& bytes) const;
  void append(const void* from, std::size_t size);

  std::vector<std::byte> data_;  // from head_ on: {Head, name, info, bytes}, each padded to 8
  std::size_t head_ = 0;
  std::size_t count_ = 0;
};

}  // namespace weir::internal
