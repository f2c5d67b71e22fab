#include "weir/net/codec/fixed_codec.h"

#include <fmt/format.h>

namespace weir {

FixedCodec::FixedCodec(std::size_t frame_size) : size_(frame_size) {
  internal::check_max_frame(frame_size, "FixedCodec");
}

Result<void> FixedCodec::encode(std::string_view payload, Buffer& out) const {
  if (payload.size() != size_) {
    return internal::frame_error(
        fmt::format("a payload of size {}; every frame has size {}", payload.size(), size_));
  }
  out.append(payload);
  return {};
}

}  // namespace weir
