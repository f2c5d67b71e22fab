// FixedCodec with any size.
#include "fuzz/codec_target.h"

namespace weir::fuzz {
namespace {

void fuzz_fixed_codec(Bytes input) {
  Script script(input);
  check_codec(FixedCodec(1 + script.up_to(600)), script);
}

const Target kTarget("fixed_codec", fuzz_fixed_codec);

}  // namespace
}  // namespace weir::fuzz
