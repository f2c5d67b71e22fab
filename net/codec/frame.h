// Frames: messages in a stream of bytes, and the concepts of a codec. [any]
//
// A codec is a set of rules without state, so one codec can be used for any number of streams on
// any number of threads. decode() gets the bytes that a stream has not consumed yet, always from
// the first one on, and returns the frame at the front. A codec never allocates memory for a length
// that was only announced.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/buffer/buffer.h"

namespace WEIR_EXPORT weir {

// The default limit of a message in bytes; a larger message is rejected. A partial frame is kept in
// the connection's input, so the longest frame, including its header or delimiter, must fit into
// max_input; otherwise listen() and connect() return an error.
inline constexpr std::size_t kDefaultMaxFrame = 64 * 1024;
// The largest limit that a codec accepts, so that arithmetic on sizes cannot overflow.
inline constexpr std::size_t kLargestMaxFrame = std::size_t{1} << 48;

struct Frame {
  std::string_view payload;  // a part of the decoded bytes
  std::size_t consume = 0;   // size of the whole frame in the stream
  bool skipped = false;      // not a frame, but bytes of a rejected one; there is no payload
};

// A whole frame; nullopt when more bytes are needed; or an Error with the value that was read and
// the limit. After an Error the stream cannot be decoded any further, unless the codec is a
// RecoveringCodec.
using Decoded = Result<std::optional<Frame>>;

// encode() appends one frame that decodes to `payload`. If there is no such frame, it returns an
// Error and appends nothing.
template <typename C>
concept FrameCodec = std::movable<C> &&
    requires(const C codec, std::string_view bytes, std::string_view payload, Buffer& out) {
  { codec.decode(bytes) } -> std::same_as<Decoded>;
  { codec.encode(payload, out) } -> std::same_as<Result<void>>;
};

// A codec that searches stores its position in `progress`, which the caller keeps: 0 for a new
// frame, and unchanged between two calls for the same frame.
template <typename C>
concept SearchingCodec = FrameCodec<C> &&
    requires(const C codec, std::string_view bytes, std::size_t& progress) {
  { codec.decode(bytes, progress) } -> std::same_as<Decoded>;
};

// A codec that can continue behind a frame that it rejected. After an Error, recovers(progress)
// returns whether it does. Then decode() returns skipped frames up to the end of the rejected one.
// Before that end it never skips the last byte: a Buffer keeps `progress` only together with bytes.
template <typename C>
concept RecoveringCodec = SearchingCodec<C> && requires(const C codec, std::size_t progress) {
  { codec.recovers(progress) } -> std::same_as<bool>;
};

// A codec that knows the size of its longest frame in the stream, including header or delimiter.
template <typename C>
concept BoundedCodec = FrameCodec<C> && requires(const C codec) {
  { codec.longest_frame() } -> std::same_as<std::size_t>;
};

// The size of the longest frame in bytes; 0: unknown.
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

// Calls decode() with or without `progress`.
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
// For encode(): an error if the payload has more than `most` bytes.
Result<void> check_payload(std::size_t size, std::size_t most);
// For constructors (CHECK): 1 <= max_frame <= kLargestMaxFrame.
void check_max_frame(std::size_t max_frame, const char* codec);

}  // namespace weir::internal
