// LengthPrefixedCodec: each frame begins with a header in which an integer tells its length. [any]
//
//   | offset bytes | length_bytes | payload ...                          |
//   |<------- the header -------->|<-- what the length counts, plus adjustment -->
//
// With length_includes_header the length counts the header too.
#pragma once

#include <bit>
#include <cstdint>

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class LengthPrefixedCodec {
 public:
  // What encode() has room for; a longer header is a message of its own (CHECK).
  static constexpr std::size_t kMaxOffset = 64;

  struct Options {
    std::size_t length_bytes = 4;  // 1, 2, 4 or 8
    std::endian byte_order = std::endian::big;
    std::size_t offset = 0;  // bytes before the length, which mean nothing to the codec
    bool length_includes_header = false;
    // Bytes that the payload has more than the length says (or fewer, if negative): 4 for a
    // checksum behind the payload that is not counted.
    std::int64_t adjustment = 0;
    // The payload is the whole frame, header and all, both ways; encode() sets the length in it.
    // Otherwise the header is left out, and encode() writes zeros for `offset`.
    bool keep_header = false;
    std::size_t max_frame = kDefaultMaxFrame;  // bytes without the header
  };

  LengthPrefixedCodec() : LengthPrefixedCodec(Options{}) {}
  explicit LengthPrefixedCodec(Options options);

  Decoded decode(std::string_view bytes) const;
  std::size_t longest_frame() const;
  // An error, besides a payload above max_frame: a length that length_bytes cannot hold.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  std::size_t header() const { return options_.offset + options_.length_bytes; }
  std::int64_t payload_of(std::uint64_t length) const;
  std::uint64_t read_length(std::string_view field) const;

  Options options_;
};

}  // namespace weir
