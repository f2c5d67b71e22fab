// Flow: the bytes of one direction of a connection, a sequence that its number determines, so that
// a lost, doubled or moved byte is seen wherever it is. [any]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::test {

class Flow {
 public:
  explicit Flow(std::uint64_t number) : number_(number) {}

  // The next bytes to send.
  std::string next(std::size_t size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = at(made_++);
    return bytes;
  }
  // Bytes that were received.
  void take(std::string_view bytes) {
    for (const char byte : bytes) intact_ = intact_ && byte == at(taken_++);
  }

  std::uint64_t made() const { return made_; }
  std::uint64_t taken() const { return taken_; }
  // All bytes received are those of the sequence, whoever sends it.
  bool intact() const { return intact_; }
  // The same, when this object also makes the bytes that are sent.
  bool correct() const { return intact_ && taken_ <= made_; }
  bool complete() const { return correct() && taken_ == made_; }

 private:
  char at(std::uint64_t offset) const {
    const std::uint64_t mixed = (offset + number_ * 1315423911U) * 0x9e3779b97f4a7c15U;
    return static_cast<char>(mixed >> 56);
  }

  std::uint64_t number_;
  std::uint64_t made_ = 0;
  std::uint64_t taken_ = 0;
  bool intact_ = true;
};

}  // namespace weir::test
