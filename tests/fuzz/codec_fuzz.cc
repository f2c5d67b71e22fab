// Decodes arbitrary bytes with every codec, whole and in pieces, and checks what must hold for all
// of them. The first byte chooses the sizes of the pieces.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include "unit/codec/codec_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  weir::test::for_each_codec([&](const char* name, const auto& codec) {
    std::minstd_rand random(data[0]);
    const std::size_t most = 1 + data[0] % 16;
    const auto next_size = [&] { return std::size_t{1} + random() % most; };
    const std::string broken = weir::test::broken_by(codec, bytes, next_size);
    if (broken.empty()) return;
    std::fprintf(stderr, "codec '%s': %s\n", name, broken.c_str());
    std::abort();
  });
  return 0;
}
