// DelimiterCodec with any delimiter.
#include "fuzz/codec_target.h"

namespace weir::fuzz {
namespace {

void fuzz_delimiter_codec(Bytes input) {
  Script script(input);
  const std::size_t most = 1 + script.up_to(600);
  std::string delimiter(script.text(DelimiterCodec::kMaxDelimiter));
  if (delimiter.empty()) delimiter = ";";
  check_codec(DelimiterCodec(delimiter, most), script);
}

const Target kTarget("delimiter_codec", fuzz_delimiter_codec);

}  // namespace
}  // namespace weir::fuzz
