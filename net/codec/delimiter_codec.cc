#include "weir/net/codec/delimiter_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "weir/base/check_format.h"

namespace weir {

DelimiterCodec::DelimiterCodec(std::string delimiter, std::size_t max_frame)
    : delimiter_(std::move(delimiter)), max_frame_(max_frame) {
  internal::check_max_frame(max_frame, "DelimiterCodec");
  WEIR_CHECK(!delimiter_.empty() && delimiter_.size() <= kMaxDelimiter,
             "DelimiterCodec: a delimiter of {} bytes; it must have 1 to {}", delimiter_.size(),
             kMaxDelimiter);
}

std::size_t DelimiterCodec::find(std::string_view bytes, std::size_t from) const {
  if (bytes.size() - from < delimiter_.size()) return bytes.npos;
  const void* hit =
      ::memmem(bytes.data() + from, bytes.size() - from, delimiter_.data(), delimiter_.size());
  if (hit == nullptr) return bytes.npos;
  return static_cast<std::size_t>(static_cast<const char*>(hit) - bytes.data());
}

// `progress` is the first position where a delimiter may still begin.
Decoded DelimiterCodec::decode(std::string_view bytes, std::size_t& progress) const {
  const std::string_view window = bytes.substr(0, longest_frame());
  const std::size_t end = find(window, std::min(progress, window.size()));
  if (end != window.npos) {
    progress = 0;
    return Frame{bytes.substr(0, end), end + delimiter_.size()};
  }
  if (window.size() == longest_frame()) {
    return internal::frame_error(
        fmt::format("no delimiter within {} bytes, the most that a frame may have", max_frame_));
  }
  progress = window.size() < delimiter_.size() ? 0 : window.size() - delimiter_.size() + 1;
  return std::nullopt;
}

Result<void> DelimiterCodec::encode(std::string_view payload, Buffer& out) const {
  if (auto fits = internal::check_payload(payload.size(), max_frame_); !fits) return fits;
  // A delimiter can also begin in the payload and end in the delimiter behind it: "a-" and "--".
  const std::size_t tail = std::min(payload.size(), delimiter_.size() - 1);
  std::array<char, 2 * kMaxDelimiter> seam;
  payload.copy(seam.data(), tail, payload.size() - tail);
  delimiter_.copy(seam.data() + tail, delimiter_.size());
  const std::size_t over_seam = find({seam.data(), tail + delimiter_.size()}, 0);
  std::size_t at = find(payload, 0);
  if (at == payload.npos && over_seam < tail) at = payload.size() - tail + over_seam;
  if (at != payload.npos) {
    return internal::frame_error(fmt::format(
        "the delimiter would begin at byte {} of the {} bytes of the payload", at, payload.size()));
  }
  out.append(payload);
  out.append(delimiter_);
  return {};
}

}  // namespace weir
