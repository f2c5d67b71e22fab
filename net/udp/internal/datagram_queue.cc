#include "weir/net/udp/internal/datagram_queue.h"

#include <cstring>

namespace weir::internal {

namespace {

constexpr std::size_t padded(std::size_t size) { return (size + 7) & ~std::size_t{7}; }

}  // namespace

std::size_t DatagramQueue::cost(const Outgoing& out, std::size_t size) {
  return sizeof(Head) + padded(out.to.size()) + padded(out.info_size) + padded(size);
}

void DatagramQueue::append(const void* from, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(from);
  if (size > 0) data_.insert(data_.end(), bytes, bytes + size);
  data_.resize(padded(data_.size()));
}

void DatagramQueue::push(const Outgoing& out, std::span<const std::byte> bytes) {
  const std::size_t more = cost(out, bytes.size());
  // Moves the datagrams to the front in place of growing, but only when half of the block is free:
  // otherwise each push would move them.
  if (head_ > 0 && head_ >= this->bytes() && data_.size() + more > data_.capacity()) {
    data_.erase(data_.begin(), data_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
  const std::size_t before = data_.size();
  try {
    const Head head{.number = out.number,
                    .size = static_cast<std::uint32_t>(bytes.size()),
                    .name_size = static_cast<std::uint16_t>(out.to.size()),
                    .info_size = static_cast<std::uint16_t>(out.info_size)};
    append(&head, sizeof(head));
    append(out.to.data(), out.to.size());
    append(out.info, out.info_size);
    append(bytes.data(), bytes.size());
  } catch (...) {
    data_.resize(before);
    throw;
  }
  ++count_;
}

std::size_t DatagramQueue::read(std::size_t at, Outgoing& out,
                                std::span<const std::byte>& bytes) const {
  Head head{};
  std::memcpy(&head, &data_[at], sizeof(head));
  at += sizeof(head);
  out.number = head.number;
  if (head.name_size > 0) {
    out.to = AddressView(reinterpret_cast<const sockaddr*>(data_.data() + at), head.name_size);
  }
  at += padded(head.name_size);
  out.info = head.info_size > 0 ? data_.data() + at : nullptr;
  out.info_size = head.info_size;
  at += padded(head.info_size);
  bytes = {data_.data() + at, head.size};
  return at + padded(head.size);
}

void DatagramQueue::pop(std::size_t count) {
  for (; count > 0; --count, --count_) {
    Outgoing out;
    std::span<const std::byte> bytes;
    head_ = read(head_, out, bytes);
  }
  if (count_ > 0) return;
  data_.clear();
  head_ = 0;
  if (data_.capacity() > kKept) data_ = std::vector<std::byte>();
}

}  // namespace weir::internal
