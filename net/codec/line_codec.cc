#include "weir/net/codec/line_codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "weir/base/check_format.h"

namespace weir {

LineCodec::LineCodec(Options options) : options_(options) {
  internal::check_max_frame(options.max_frame, "LineCodec");
  WEIR_CHECK(options.strip_cr || !options.write_crlf, "LineCodec: write_crlf without strip_cr");
  WEIR_CHECK(!options.skip_overlong || options.max_frame < kSkipping - 2,
             "LineCodec: skip_overlong with a max_frame of {}; it must be below 4 GiB",
             options.max_frame);
}

Decoded LineCodec::skip(std::string_view bytes, std::size_t& progress) {
  if (const std::size_t end = bytes.find('\n'); end != bytes.npos) {
    progress = 0;
    return Frame{.payload = {}, .consume = end + 1, .skipped = true};
  }
  if (bytes.size() < 2) return std::nullopt;
  return Frame{.payload = {}, .consume = bytes.size() - 1, .skipped = true};
}

Decoded LineCodec::decode(std::string_view bytes, std::size_t& progress) const {
  if (recovers(progress)) return skip(bytes, progress);
  const std::size_t most = options_.max_frame;
  // The longest accepted line with its end.
  const std::string_view window = bytes.substr(0, longest_frame());
  const std::size_t end = window.find('\n', std::min(progress, window.size()));
  const std::size_t seen = std::min(end, window.size());
  const bool cr = options_.strip_cr && seen > 0 && window[seen - 1] == '\r';
  // A CR at the end is not counted: it may be a part of the line's end.
  const std::size_t line = cr ? seen - 1 : seen;
  if (line > most) {
    if (options_.skip_overlong) progress = kSkipping;
    return internal::frame_error(
        fmt::format("a line is longer than {} bytes, the most that is accepted", most));
  }
  if (end == window.npos) {
    progress = seen;
    return std::nullopt;
  }
  progress = 0;
  return Frame{bytes.substr(0, line), end + 1};
}

Result<void> LineCodec::encode(std::string_view payload, Buffer& out) const {
  if (auto fits = internal::check_payload(payload.size(), options_.max_frame); !fits) return fits;
  if (const std::size_t at = payload.find('\n'); at != payload.npos) {
    return internal::frame_error(
        fmt::format("byte {} of the payload is a line feed, which would end the line", at));
  }
  out.append(payload);
  // Without CR LF, decode() would remove a CR at the end of the payload.
  const bool crlf = options_.write_crlf || (options_.strip_cr && payload.ends_with('\r'));
  out.append(crlf ? "\r\n" : "\n");
  return {};
}

}  // namespace weir
