// What the targets of the codecs share: the rules for all bytes (unit/codec/codec_check.h), and the
// heap and the time that a stream takes.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "fuzz/target.h"
#include "unit/codec/codec_check.h"
#include "weir/base/check_format.h"
#include "weir/base/poison.h"
#include "weir/net/buffer/buffer.h"

namespace weir::fuzz {

// Decodes as decode_frame() does, and checks that a byte which was searched is not read again. So
// the time is linear in the size of the stream, whatever its pieces are. Only ASan notices a read.
template <FrameCodec C>
Decoded decode_searching(const C& codec, const Buffer& input, std::size_t& progress) {
  // LineCodec looks for a CR before the line feed, and a delimiter may have begun.
  constexpr std::size_t kSearchedAgain = DelimiterCodec::kMaxDelimiter;
  const std::size_t searched = recovers(codec, progress) ? 0 : progress;
  const std::span<const std::byte> past =
      input.bytes().first(searched - std::min<std::size_t>(searched, 1));
  internal::poison(past);
  Decoded decoded = decode_frame(codec, input.view(), progress);
  internal::unpoison(past);
  if constexpr (SearchingCodec<C>) {
    const bool more = decoded && !*decoded && !recovers(codec, progress);
    WEIR_CHECK(!more || input.size() < progress + kSearchedAgain, "searched {} of {} bytes",
               progress, input.size());
  }
  return decoded;
}

// Reads the stream from a Buffer, as a connection does, in pieces of `most` bytes.
template <FrameCodec C>
void check_costs(const C& codec, std::string_view bytes, std::size_t most) {
  HeapMeter heap;
  Buffer input;
  std::size_t progress = 0;
  std::size_t received = 0;
  while (received < bytes.size()) {
    const std::size_t here = std::min(most, bytes.size() - received);
    input.append(bytes.substr(received, here));
    received += here;
    while (!input.empty()) {
      const Decoded decoded = decode_searching(codec, input, progress);
      heap.check(received);
      if (!decoded && !recovers(codec, progress)) return;
      if (decoded && !*decoded) break;
      if (decoded) input.consume((*decoded)->consume);
    }
  }
}

// Any bytes are a payload, too: what is encoded is decoded again, or it is refused.
template <FrameCodec C>
void check_encoding(const C& codec, std::string_view payload) {
  std::string encoded;
  const std::string broken = test::broken_by_encoding(codec, payload, encoded);
  WEIR_CHECK(broken.empty() || broken.starts_with("refused: "), "{}", broken);
}

// The first byte of the script decides about the sizes of the pieces, the rest is the stream.
// `completes`: encode() writes into a payload that is not a frame yet.
template <FrameCodec C>
void check_codec(const C& codec, Script& script, bool completes = false) {
  const std::size_t sizes = script.byte();
  const std::string_view bytes = script.rest();
  std::size_t step = sizes;
  const auto next_size = [&] { return 1 + (step = (step * 5 + 1) % 65521) % (1 + sizes % 16); };
  const std::string broken = test::broken_by(codec, bytes, next_size);
  WEIR_CHECK(broken.empty(), "{}", broken);
  check_costs(codec, bytes, 1 + sizes % 16);
  if (!completes) check_encoding(codec, bytes);
}

}  // namespace weir::fuzz
