// Frames: whole messages in a stream of bytes, and what it takes to be a codec. [any]
//
// A codec is a set of rules and has no state, so one serves any number of streams on any number of
// threads. It is shown the bytes that a stream has not consumed yet, always from the first one on,
// and says what stands at the front. It never reserves memory for what was only announced.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/buffer/buffer.h"

namespace WEIR_EXPORT weir {

// A message larger than this is refused unless the codec's options say otherwise. A partial frame
// waits in the connection's input, so the longest one, with what frames it, must fit max_input:
// listen() and connect() say so otherwise.
inline constexpr std::size_t kDefaultMaxFrame = 64 * 1024;
// No codec takes a larger bound: arithmetic on sizes then cannot overflow.
inline constexpr std::size_t kLargestMaxFrame = std::size_t{1} << 48;

struct Frame {
  std::string_view payload;  // lies in the bytes that were decoded
  std::size_t consume = 0;   // bytes that the frame takes in the stream, from the first one on
  bool skipped = false;      // no frame, but bytes of one that was refused before; no payload
};

// A whole frame; nothing, when more bytes are needed; or why there will never be one. An Error says
// what was read and what the bound is. A stream that had one cannot be followed any further, unless
// the codec is a RecoveringCodec.
using Decoded = Result<std::optional<Frame>>;

// encode() appends one frame that decodes to `payload`, or says why there is none and appends
// nothing.
template <typename C>
concept FrameCodec = std::movable<C> &&
    requires(const C codec, std::string_view bytes, std::string_view payload, Buffer& out) {
  { codec.decode(bytes) } -> std::same_as<Decoded>;
  { codec.encode(payload, out) } -> std::same_as<Result<void>>;
};

// A codec that searches remembers how far it got, in a number that the caller keeps: 0 for a new
// frame, and what the codec left there while more bytes are needed for it.
template <typename C>
concept SearchingCodec = FrameCodec<C> &&
    requires(const C codec, std::string_view bytes, std::size_t& progress) {
  { codec.decode(bytes, progress) } -> std::same_as<Decoded>;
};

// A codec that can go on behind a frame which it refused. After an Error recovers(progress) says
// whether it does; what it is shown then it takes as skipped frames, up to the end of the refused
// one. It never takes the last byte that there is before that end: the number lives beside it.
template <typename C>
concept RecoveringCodec = SearchingCodec<C> && requires(const C codec, std::size_t progress) {
  { codec.recovers(progress) } -> std::same_as<bool>;
};

// A codec that says how many bytes its longest frame takes in the stream, with all that frames it.
template <typename C>
concept BoundedCodec = FrameCodec<C> && requires(const C codec) {
  { codec.longest_frame() } -> std::same_as<std::size_t>;
};

// 0: it does not say.
template <FrameCodec C>
std::size_t longest_frame(const C& codec) {
  if constexpr (BoundedCodec<C>) return codec.longest_frame();
  return 0;
}

template <FrameCodec C>
bool recovers(const C& codec, std::size_t progress) {
  if constexpr (RecoveringCodec<C>) return codec.recovers(progress);
  return false;
}

// Either kind.
template <FrameCodec C>
Decoded decode_frame(const C& codec, std::string_view bytes, std::size_t& progress) {
  if constexpr (SearchingCodec<C>) {
    return codec.decode(bytes, progress);
  } else {
    return codec.decode(bytes);
  }
}

}  // namespace weir

namespace weir::internal {

std::unexpected<Error> frame_error(std::string message);
// For encode(): a payload of more than `most` bytes.
Result<void> check_payload(std::size_t size, std::size_t most);
// For constructors (CHECK): 1 <= max_frame <= kLargestMaxFrame.
void check_max_frame(std::size_t max_frame, const char* codec);

}  // namespace weir::internal
