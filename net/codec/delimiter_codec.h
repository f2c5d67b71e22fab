// DelimiterCodec: each frame ends with a delimiter, a string of bytes of your choice. [any]
#pragma once

#include <string>

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class DelimiterCodec {
 public:
  // The limit bounds the cost: with each new piece of a stream, up to size of the delimiter - 1
  // bytes are searched again.
  static constexpr std::size_t kMaxDelimiter = 256;

  // `delimiter`: 1 to kMaxDelimiter bytes (CHECK). `max_frame`: in bytes, without the delimiter.
  explicit DelimiterCodec(std::string delimiter, std::size_t max_frame = kDefaultMaxFrame);

  Decoded decode(std::string_view bytes, std::size_t& progress) const;
  Decoded decode(std::string_view bytes) const {
    std::size_t progress = 0;
    return decode(bytes, progress);
  }
  std::size_t longest_frame() const { return max_frame_ + delimiter_.size(); }
  // An error if the encoded frame would contain the delimiter before its end.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  // memmem(3): linear for every delimiter, unlike std::string_view::find().
  std::size_t find(std::string_view bytes, std::size_t from) const;

  std::string delimiter_;
  std::size_t max_frame_;
};

}  // namespace weir
