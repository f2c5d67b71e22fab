// LineCodec: frames end with LF; a CR before it belongs to the end of the line, if so wanted. [any]
#pragma once

#include <cstdint>
#include <limits>

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class LineCodec {
 public:
  struct Options {
    std::size_t max_frame = kDefaultMaxFrame;  // bytes of a line without its end
    bool strip_cr = true;                      // CR LF ends a line as LF does
    bool write_crlf = false;                   // what encode() ends a line with; needs strip_cr
    // A line that is too long is refused as soon as it is, then skipped to its end, however long it
    // is; the stream goes on behind it. Needs a max_frame of less than 4 GiB.
    bool skip_overlong = false;
  };

  LineCodec() : LineCodec(Options{}) {}
  explicit LineCodec(Options options);

  // Looks at no byte twice, and at no more than the longest line has.
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
  // An error if there is a LF in the payload.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  // In the place of how far it got: inside a line that was refused.
  static constexpr std::size_t kSkipping = (std::numeric_limits<std::uint32_t>::max)();
  static Decoded skip(std::string_view bytes, std::size_t& progress);

  Options options_;
};

}  // namespace weir
