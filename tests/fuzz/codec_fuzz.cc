// Decodes arbitrary bytes with a codec, whole and in pieces, and checks what must hold for all of
// them. The first byte chooses the codec, the second the sizes of the pieces.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include "unit/codec/codec_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static const unsigned codecs = [] {
    unsigned count = 0;
    weir::test::for_each_codec([&](const char*, const auto&) { ++count; });
    return count;
  }();
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  unsigned chosen = data[0] % codecs;
  weir::test::for_each_codec([&](const char* name, const auto& codec) {
    if (chosen-- != 0) return;
    std::minstd_rand random(data[1]);
    const std::size_t most = 1 + data[1] % 16;
    const auto next_size = [&] { return std::size_t{1} + random() % most; };
    const std::string broken = weir::test::broken_by(codec, bytes, next_size);
    if (broken.empty()) return;
    std::fprintf(stderr, "codec '%s': %s\n", name, broken.c_str());
    std::abort();
  });
  return 0;
}
