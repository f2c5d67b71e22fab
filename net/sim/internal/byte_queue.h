// ByteQueue: bytes that leave in the order in which they came.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weir::internal::sim {

class ByteQueue {
 public:
  std::size_t size() const { return bytes_.size() - begin_; }
  bool empty() const { return size() == 0; }
  std::string_view view() const { return std::string_view(bytes_).substr(begin_); }
  void append(std::string_view more) { bytes_.append(more); }
  // At most size().
  void consume(std::size_t count) {
    begin_ += count;
    if (begin_ == bytes_.size()) {
      clear();
    } else if (begin_ > kMostConsumed) {
      bytes_.erase(0, begin_);
      begin_ = 0;
    }
  }
  void clear() {
    bytes_.clear();
    begin_ = 0;
  }

 private:
  static constexpr std::size_t kMostConsumed = 64 * 1024;  // before the rest is moved
  std::string bytes_;
  std::size_t begin_ = 0;
};

}  // namespace weir::internal::sim
