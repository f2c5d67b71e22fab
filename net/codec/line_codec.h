// LineCodec: each frame is a line that ends with LF or, with strip_cr, with CR LF. [any]
#pragma once

#include <cstdint>
#include <limits>

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class LineCodec {
 public:
  struct Options {
    std::size_t max_frame = kDefaultMaxFrame;  // in bytes, without the end of the line
    bool strip_cr = true;                      // CR LF ends a line, too
    bool write_crlf = false;                   // encode() writes CR LF; needs strip_cr
    // A line that is too long is rejected as soon as it exceeds max_frame, and then skipped to its
    // end, whatever its length; the stream continues behind it. Needs a max_frame below 4 GiB.
    bool skip_overlong = false;
  };

  LineCodec() : LineCodec(Options{}) {}
  explicit LineCodec(Options options);

  // Reads no byte twice, and no more bytes than the longest line has.
  Decoded decode(std::string_view bytes, std::size_t& progress) const;
  Decoded decode(std::string_view bytes) const {
    std::size_t progress = 0;
    return decode(bytes, progress);
  }
  // After an error, see RecoveringCodec.
  bool recovers(std::size_t progress) const {
    return options_.skip_overlong && progress == kSkipping;
  }
  std::size_t longest_frame() const { return options_.max_frame + (options_.strip_cr ? 2 : 1); }
  // An error if the payload contains a LF.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  // The value of `progress` inside a rejected line.
  static constexpr std::size_t kSkipping = (std::numeric_limits<std::uint32_t>::max)();
  static Decoded skip(std::string_view bytes, std::size_t& progress);

  Options options_;
};

}  // namespace weir
