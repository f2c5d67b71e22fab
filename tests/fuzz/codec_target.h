// What the targets of the codecs share: the rules for all bytes (unit/codec/codec_check.h), and the
// heap that a stream takes.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "fuzz/target.h"
#include "unit/codec/codec_check.h"
#include "weir/base/check_format.h"
#include "weir/net/buffer/buffer.h"

namespace weir::fuzz {

// Reads the stream from a Buffer, as a connection does, in pieces of `most` bytes.
template <FrameCodec C>
void check_heap(const C& codec, std::string_view bytes, std::size_t most) {
  HeapMeter heap;
  Buffer input;
  std::size_t progress = 0;
  std::size_t received = 0;
  while (received < bytes.size()) {
    const std::size_t here = std::min(most, bytes.size() - received);
    input.append(bytes.substr(received, here));
    received += here;
    while (!input.empty()) {
      const Decoded decoded = decode_frame(codec, input.view(), progress);
      heap.check(received);
      if (!decoded && !recovers(codec, progress)) return;
      if (decoded && !*decoded) break;
      if (decoded) input.consume((*decoded)->consume);
    }
  }
}

// The first byte of the script decides about the sizes of the pieces, the rest is the stream.
template <FrameCodec C>
void check_codec(const C& codec, Script& script) {
  const std::size_t sizes = script.byte();
  const std::string_view bytes = script.rest();
  std::size_t step = sizes;
  const auto next_size = [&] { return 1 + (step = step * 5 + 1) % (1 + sizes % 16); };
  const std::string broken = test::broken_by(codec, bytes, next_size);
  WEIR_CHECK(broken.empty(), "{}", broken);
  check_heap(codec, bytes, 1 + sizes % 16);
}

}  // namespace weir::fuzz
