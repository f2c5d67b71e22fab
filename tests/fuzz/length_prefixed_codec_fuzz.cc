// LengthPrefixedCodec with any options.
#include <array>
#include <bit>

#include "fuzz/codec_target.h"

namespace weir::fuzz {
namespace {

constexpr std::int64_t kFarthest = std::int64_t{1} << 48;

std::int64_t adjustment(Script& script) {
  switch (script.byte() % 8) {
    case 0:
      return kFarthest;
    case 1:
      return -kFarthest;
    case 2:
    case 3:
      return static_cast<std::int64_t>(script.up_to(80)) - 40;
    default:
      return 0;
  }
}

void fuzz_length_prefixed_codec(Bytes input) {
  constexpr std::array<std::size_t, 4> kWidths = {1, 2, 4, 8};
  Script script(input);
  LengthPrefixedCodec::Options options;
  options.length_bytes = kWidths[script.byte() % kWidths.size()];
  options.byte_order = script.flag() ? std::endian::big : std::endian::little;
  options.offset = script.up_to(LengthPrefixedCodec::kMaxOffset);
  options.length_includes_header = script.flag();
  options.keep_header = script.flag();
  options.adjustment = adjustment(script);
  options.max_frame = script.flag() ? kLargestMaxFrame : 1 + script.up_to(600);
  check_codec(LengthPrefixedCodec(options), script, options.keep_header);
}

const Target kTarget("length_prefixed_codec", fuzz_length_prefixed_codec);

}  // namespace
}  // namespace weir::fuzz
