// LengthPrefixedCodec: each frame begins with a header that contains its length. [any]
//
//   | offset bytes | length_bytes | payload ...                          |
//   |<------- the header -------->|<-------- length + adjustment ------->|
//
// With length_includes_header the length also counts the header.
#pragma once

#include <bit>
#include <cstdint>

#include "weir/base/export.h"
#include "weir/net/codec/frame.h"

namespace WEIR_EXPORT weir {

class LengthPrefixedCodec {
 public:
  // The largest `offset` (CHECK). A longer header should be a message of its own.
  static constexpr std::size_t kMaxOffset = 64;

  struct Options {
    std::size_t length_bytes = 4;  // 1, 2, 4 or 8
    std::endian byte_order = std::endian::big;
    std::size_t offset = 0;  // bytes before the length, which the codec ignores
    bool length_includes_header = false;
    // Number of bytes behind the header that the length does not count (negative: that it counts
    // in addition). Example: 4 for a checksum that is not counted.
    std::int64_t adjustment = 0;
    // If true, the payload includes the header, for decode() and encode(); encode() sets the length
    // in it. If false, it does not, and encode() writes zeros for the `offset` bytes.
    bool keep_header = false;
    std::size_t max_frame = kDefaultMaxFrame;  // in bytes, without the header
  };

  LengthPrefixedCodec() : LengthPrefixedCodec(Options{}) {}
  explicit LengthPrefixedCodec(Options options);

  Decoded decode(std::string_view bytes) const;
  std::size_t longest_frame() const;
  // An error if the payload exceeds max_frame or its length does not fit into length_bytes.
  Result<void> encode(std::string_view payload, Buffer& out) const;

 private:
  std::size_t header() const { return options_.offset + options_.length_bytes; }
  std::int64_t payload_of(std::uint64_t length) const;
  std::uint64_t read_length(std::string_view field) const;

  Options options_;
};

}  // namespace weir
