// DatagramQueue: datagrams that the socket has not taken yet, one after the other in one block of
// memory. Internal to the udp floor. [loop]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/net/udp/datagram.h"

namespace weir::internal {

// The parameters of one datagram to send, besides its bytes. The memory that they refer to must
// stay valid until the kernel has taken the datagram.
struct Outgoing {
  AddressView to;               // empty: the connected peer
  const void* info = nullptr;   // the source address, in the format of Datagram::packet_info
  std::uint32_t info_size = 0;  // 0: the kernel chooses the source address
  std::uint64_t number = 0;     // FailedDatagram::number
};

class DatagramQueue {
 public:
  // An empty queue keeps up to this many bytes of memory, which is enough for a burst of one turn.
  static constexpr std::size_t kKept = 256 * 1024;

  bool empty() const { return count_ == 0; }
  std::size_t count() const { return count_; }
  // The sum of cost().
  std::size_t bytes() const { return data_.size() - head_; }
  // Bytes that a datagram of this size takes in the queue, including its address and its head.
  static std::size_t cost(const Outgoing& out, std::size_t size);

  void push(const Outgoing& out, std::span<const std::byte> bytes);
  // Calls take(outgoing, bytes) for each datagram from the front, until it returns false. The views
  // are valid until the next push or pop.
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
