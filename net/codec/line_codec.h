// LineCodec: frames end with LF; a CR before it belongs to the end of the line, if so wanted. [any]
#pragma once

#include "weir/net/codec/frame.h"

namespace weir {

class LineCodec {
 public:
  struct Options {
    std::size_t max_frame = kDefaultMaxFrame;  // bytes of a line without its end
    bool strip_cr = true;                      // CR LF ends a line as LF does
    bool write_crlf = false;                   // what encode() ends a line with; needs strip_cr
  };

  LineCodec() : LineCodec(Options{}) {}
  explicit LineCodec(Options options);

  // Looks at no byte twice, and at no more than the longest line has.
  Decoded decode(std::string_view bytes, std::size_t& progress) const;
  Decoded decode(std::string_view bytes) const {
    std::size_t progress = 0;
    return decode(bytes, progress);
  }
  // An error if there is a LF in the payload.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  Options options_;
};

}  // namespace weir
