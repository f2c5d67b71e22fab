// VarintCodec: each frame begins with the length of its payload as an unsigned LEB128 number (DWARF
// 5, 7.6; "varint" in protocol buffers): seven bits in each byte, lowest first, the top bit set in
// all bytes but the last. [any]
#pragma once

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class VarintCodec {
 public:
  explicit VarintCodec(std::size_t max_frame = kDefaultMaxFrame);

  // An error if the length exceeds max_frame, has more than 64 bits, or has more bytes than it
  // needs, so that each frame has only one encoding.
  Decoded decode(std::string_view bytes) const;
  std::size_t longest_frame() const;
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  std::size_t max_frame_;
};

}  // namespace weir
