// FixedCodec: all frames have the same size and follow each other without a separator. [any]
#pragma once

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class FixedCodec {
 public:
  // `frame_size`: 1 to kLargestMaxFrame bytes (CHECK).
  explicit FixedCodec(std::size_t frame_size);

  Decoded decode(std::string_view bytes) const {
    if (bytes.size() < size_) return std::nullopt;
    return Frame{bytes.substr(0, size_), size_};
  }
  std::size_t longest_frame() const { return size_; }
  // An error unless the payload has exactly this size.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  std::size_t size_;
};

}  // namespace weir
