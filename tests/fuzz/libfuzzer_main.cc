// The entry of libFuzzer, for a program with one target.
#include <cstddef>
#include <cstdint>

#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::fuzz::Target::all().front()->run(std::as_bytes(std::span(data, size)));
  return 0;
}
