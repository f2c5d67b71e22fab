// The entry of libFuzzer, for a program with one target.
#include <cstddef>
#include <cstdint>

#include "fuzz/target.h"
#include "weir/base/log.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  weir::set_log_level(weir::LogLevel::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::fuzz::Target::all().front()->run(std::as_bytes(std::span(data, size)));
  return 0;
}
