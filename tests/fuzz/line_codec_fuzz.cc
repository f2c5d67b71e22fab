// LineCodec with any options.
#include "fuzz/codec_target.h"

namespace weir::fuzz {
namespace {

void fuzz_line_codec(Bytes input) {
  Script script(input);
  LineCodec::Options options{.max_frame = 1 + script.up_to(600)};
  options.strip_cr = script.flag();
  options.write_crlf = options.strip_cr && script.flag();
  options.skip_overlong = script.flag();
  check_codec(LineCodec(options), script);
}

const Target kTarget("line_codec", fuzz_line_codec);

}  // namespace
}  // namespace weir::fuzz
