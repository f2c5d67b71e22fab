#include "weir/net/codec/frame.h"

#include <fmt/format.h>

#include <utility>

#include "weir/base/check_format.h"

namespace weir::internal {

std::unexpected<Error> frame_error(std::string message) {
  return std::unexpected(Error(std::move(message)));
}

Result<void> check_payload(std::size_t size, std::size_t most) {
  if (size <= most) return {};
  return frame_error(fmt::format("a payload of {} bytes; at most {} are accepted", size, most));
}

void check_max_frame(std::size_t max_frame, const char* codec) {
  WEIR_CHECK(max_frame >= 1 && max_frame <= kLargestMaxFrame,
             "{}: max_frame is {}; it must be from 1 to {}", codec, max_frame, kLargestMaxFrame);
}

}  // namespace weir::internal
