// VarintCodec with small limits and with the largest.
#include "fuzz/codec_target.h"

namespace weir::fuzz {
namespace {

void fuzz_varint_codec(Bytes input) {
  Script script(input);
  const std::size_t most = script.flag() ? kLargestMaxFrame : 1 + script.up_to(600);
  check_codec(VarintCodec(most), script);
}

const Target kTarget("varint_codec", fuzz_varint_codec);

}  // namespace
}  // namespace weir::fuzz
