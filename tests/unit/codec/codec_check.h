// What must hold for every codec and all bytes, for unit tests and for the fuzz target. [any]
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/net/codec/delimiter_codec.h"
#include "weir/net/codec/fixed_codec.h"
#include "weir/net/codec/frame.h"
#include "weir/net/codec/length_prefixed_codec.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/codec/varint_codec.h"

namespace weir::test {

// "frame <payload> of <consume>", "skip <consume>", "more" or "error: <sentence>".
inline std::string show(const Decoded& decoded) {
  if (!decoded) return "error: " + decoded.error().message();
  if (!*decoded) return "more";
  if ((*decoded)->skipped) return fmt::format("skip {}", (*decoded)->consume);
  return fmt::format("frame <{}> of {}", (*decoded)->payload, (*decoded)->consume);
}

// A stream from its beginning to where it was cut, or to its error.
struct Stream {
  std::vector<std::string> frames;
  std::string error;
  std::size_t refused = 0;  // frames that it recovered from
  std::size_t consumed = 0;
  std::string broken;  // the rule that the codec broke, if any

  friend bool operator==(const Stream&, const Stream&) = default;
};

// Feeds `bytes` in pieces: next_size() says how many come next (at least 1). After each piece the
// codec is asked until it needs more, as a connection would.
template <FrameCodec C, typename NextSize>
Stream feed(const C& codec, std::string_view bytes, NextSize&& next_size) {
  Stream stream;
  std::size_t progress = 0;
  std::size_t arrived = 0;
  while (arrived < bytes.size()) {
    arrived += std::min<std::size_t>(next_size(), bytes.size() - arrived);
    while (stream.consumed < arrived) {
      // A copy of exactly these bytes, so that reading past them is found by ASan.
      const std::vector<char> copy(bytes.begin() + static_cast<std::ptrdiff_t>(stream.consumed),
                                   bytes.begin() + static_cast<std::ptrdiff_t>(arrived));
      const std::string_view unread(copy.data(), copy.size());
      const Decoded decoded = decode_frame(codec, unread, progress);
      if (!decoded) {
        stream.error = decoded.error().message();
        if (stream.error.empty()) stream.broken = "an error without a sentence";
        if (!recovers(codec, progress) || !stream.broken.empty()) return stream;
        ++stream.refused;
        continue;
      }
      if (!*decoded) {
        const bool skipping = recovers(codec, progress);
        if (skipping && unread.size() > 1) stream.broken = "more than a byte kept while skipping";
        if (!skipping && progress > unread.size()) stream.broken = "progress beyond the bytes";
        break;
      }
      const Frame& frame = **decoded;
      if (frame.consume == 0) stream.broken = "a frame of no bytes";
      if (frame.consume > unread.size()) stream.broken = "a frame of more bytes than there are";
      if (!stream.broken.empty()) return stream;
      if (frame.skipped) {
        if (!frame.payload.empty()) stream.broken = "a payload that is skipped";
        stream.consumed += frame.consume;
        continue;
      }
      const auto* const begin = unread.data();
      if (frame.payload.data() < begin ||
          frame.payload.data() + frame.payload.size() > begin + frame.consume) {
        stream.broken = "a payload that lies outside its frame";
        return stream;
      }
      if (progress != 0) stream.broken = "progress left behind after a frame";
      stream.frames.emplace_back(frame.payload);
      stream.consumed += frame.consume;
    }
  }
  return stream;
}

template <FrameCodec C>
Stream feed_whole(const C& codec, std::string_view bytes) {
  return feed(codec, bytes, [&] { return bytes.size(); });
}

// What `codec` breaks when the payload is encoded: empty if nothing, and `encoded` has the frame.
template <FrameCodec C>
std::string broken_by_encoding(const C& codec, std::string_view payload, std::string& encoded) {
  Buffer out("kept");
  const auto result = codec.encode(payload, out);
  if (!result) {
    if (out.view() != "kept") return "a refused payload left bytes behind";
    return "refused: " + result.error().message();
  }
  if (!out.view().starts_with("kept")) return "what was there is gone";
  encoded = out.view().substr(4);
  const Stream back = feed_whole(codec, encoded);
  if (!back.broken.empty()) return back.broken;
  if (back.frames != std::vector<std::string>{std::string(payload)}) return "another payload";
  if (back.consumed != encoded.size()) return "bytes are left over";
  return {};
}

// What `codec` breaks with these bytes, or nothing: the same frames and the same error whichever
// way they come, and every payload that was decoded can be encoded.
template <FrameCodec C, typename NextSize>
std::string broken_by(const C& codec, std::string_view bytes, NextSize&& next_size) {
  const Stream whole = feed_whole(codec, bytes);
  if (!whole.broken.empty()) return whole.broken;
  const Stream pieces = feed(codec, bytes, next_size);
  if (!pieces.broken.empty()) return pieces.broken;
  if (whole != pieces) {
    return fmt::format("whole: {} frames, {} bytes, '{}'; in pieces: {} frames, {} bytes, '{}'",
                       whole.frames.size(), whole.consumed, whole.error, pieces.frames.size(),
                       pieces.consumed, pieces.error);
  }
  for (const std::string& payload : whole.frames) {
    std::string encoded;
    std::string broken = broken_by_encoding(codec, payload, encoded);
    if (!broken.empty()) return fmt::format("payload '{}': {}", payload, broken);
  }
  return {};
}

// Calls fn(name, codec) with one of every kind, with bounds small enough to be met.
template <typename Fn>
void for_each_codec(Fn&& fn) {
  fn("line", LineCodec({.max_frame = 9}));
  fn("line, LF alone", LineCodec({.max_frame = 9, .strip_cr = false}));
  fn("line, CR LF", LineCodec({.max_frame = 300, .write_crlf = true}));
  fn("line, skipping", LineCodec({.max_frame = 9, .skip_overlong = true}));
  fn("line, LF alone, skipping",
     LineCodec({.max_frame = 1, .strip_cr = false, .skip_overlong = true}));
  fn("delimiter of one", DelimiterCodec(";", 9));
  fn("delimiter", DelimiterCodec("--", 7));
  fn("delimiter that overlaps itself", DelimiterCodec("aab", 20));
  fn("fixed 1", FixedCodec(1));
  fn("fixed 3", FixedCodec(3));
  fn("varint", VarintCodec(9));
  fn("varint, longer", VarintCodec(300));
  for (const std::size_t width : {1U, 2U, 4U, 8U}) {
    for (const std::endian order : {std::endian::big, std::endian::little}) {
      LengthPrefixedCodec::Options options{.length_bytes = width, .byte_order = order};
      options.max_frame = 20;
      fn("length", LengthPrefixedCodec(options));
      options.length_includes_header = true;
      options.offset = 3;
      fn("length with header", LengthPrefixedCodec(options));
      options.keep_header = true;
      options.adjustment = 2;
      fn("whole frames", LengthPrefixedCodec(options));
      options = {.length_bytes = width, .byte_order = order, .adjustment = -1, .max_frame = 20};
      fn("length less one", LengthPrefixedCodec(options));
    }
  }
}

}  // namespace weir::test
