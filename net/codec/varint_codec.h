// VarintCodec: each frame begins with its payload's length as an unsigned LEB128 number (DWARF 5,
// 7.6; protocol buffers call it varint): seven bits a byte, lowest first, the top bit set on all
// but the last. [any]
#pragma once

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class VarintCodec {
 public:
  explicit VarintCodec(std::size_t max_frame = kDefaultMaxFrame);

  // An error, besides a length above max_frame: one of more than 64 bits, and one that is written
  // in more bytes than it needs, so that a stream can be written in one way only.
  Decoded decode(std::string_view bytes) const;
  std::size_t longest_frame() const;
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  std::size_t max_frame_;
};

}  // namespace weir
