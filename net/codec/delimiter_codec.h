// DelimiterCodec: frames end with a string of bytes of your choice. [any]
#pragma once

#include <string>

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class DelimiterCodec {
 public:
  // Longer ones are refused: with each new piece of a stream the last bytes of what was searched
  // before are looked at again, fewer than the delimiter has.
  static constexpr std::size_t kMaxDelimiter = 256;

  // A delimiter of 1 to kMaxDelimiter bytes (CHECK). max_frame: without the delimiter.
  explicit DelimiterCodec(std::string delimiter, std::size_t max_frame = kDefaultMaxFrame);

  Decoded decode(std::string_view bytes, std::size_t& progress) const;
  Decoded decode(std::string_view bytes) const {
    std::size_t progress = 0;
    return decode(bytes, progress);
  }
  std::size_t longest_frame() const { return max_frame_ + delimiter_.size(); }
  // An error if the delimiter would be found before the end of the payload.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  // Linear for every delimiter, which std::string_view::find() is not. (memmem(3))
  std::size_t find(std::string_view bytes, std::size_t from) const;

  std::string delimiter_;
  std::size_t max_frame_;
};

}  // namespace weir
