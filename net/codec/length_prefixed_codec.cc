#include "weir/net/codec/length_prefixed_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "weir/base/check_format.h"

namespace weir {
namespace {

// Small enough that a sum of lengths cannot overflow.
constexpr std::int64_t kMaxAdjustment = std::int64_t{1} << 48;
// A length of this size or more is always too large; a smaller one does not overflow.
constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;

}  // namespace

LengthPrefixedCodec::LengthPrefixedCodec(Options options) : options_(options) {
  internal::check_max_frame(options.max_frame, "LengthPrefixedCodec");
  const std::size_t width = options.length_bytes;
  WEIR_CHECK(width == 1 || width == 2 || width == 4 || width == 8,
             "LengthPrefixedCodec: length_bytes is {}; it must be 1, 2, 4 or 8", width);
  WEIR_CHECK(options.byte_order == std::endian::big || options.byte_order == std::endian::little,
             "LengthPrefixedCodec: byte_order is neither big nor little");
  WEIR_CHECK(options.offset <= kMaxOffset, "LengthPrefixedCodec: offset is {}; at most {}",
             options.offset, kMaxOffset);
  WEIR_CHECK(options.adjustment >= -kMaxAdjustment && options.adjustment <= kMaxAdjustment,
             "LengthPrefixedCodec: adjustment is {}; at most {} either way", options.adjustment,
             kMaxAdjustment);
}

std::uint64_t LengthPrefixedCodec::read_length(std::string_view field) const {
  const bool big = options_.byte_order == std::endian::big;
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < field.size(); ++i) {
    const std::size_t from_top = big ? i : field.size() - 1 - i;
    length = length << 8 | static_cast<unsigned char>(field[from_top]);
  }
  return length;
}

// The size of the payload behind a header with `length`, which is below kHuge. Negative: invalid.
std::int64_t LengthPrefixedCodec::payload_of(std::uint64_t length) const {
  const std::int64_t counted =
      options_.length_includes_header ? static_cast<std::int64_t>(header()) : 0;
  return static_cast<std::int64_t>(length) + options_.adjustment - counted;
}

// Also limited by the largest length that fits into the field.
std::size_t LengthPrefixedCodec::longest_frame() const {
  const std::uint64_t most = options_.length_bytes == 8
                                 ? kHuge - 1
                                 : (std::uint64_t{1} << (8 * options_.length_bytes)) - 1;
  const auto payload = static_cast<std::size_t>(std::max<std::int64_t>(payload_of(most), 0));
  return header() + std::min(payload, options_.max_frame);
}

Decoded LengthPrefixedCodec::decode(std::string_view bytes) const {
  if (bytes.size() < header()) return std::nullopt;
  const std::uint64_t length = read_length(bytes.substr(options_.offset, options_.length_bytes));
  if (length >= kHuge) {
    return internal::frame_error(
        fmt::format("the length field is {}; at most {} are accepted", length, options_.max_frame));
  }
  const std::int64_t size = payload_of(length);
  if (size < 0) {
    return internal::frame_error(
        fmt::format("the length field is {}, which leaves {} bytes for the payload", length, size));
  }
  const auto payload = static_cast<std::size_t>(size);
  if (payload > options_.max_frame) {
    return internal::frame_error(
        fmt::format("the length field is {}, which means {} bytes of payload; at most {} are "
                    "accepted",
                    length, payload, options_.max_frame));
  }
  if (bytes.size() - header() < payload) return std::nullopt;
  const std::size_t whole = header() + payload;
  const std::size_t skipped = options_.keep_header ? 0 : header();
  return Frame{bytes.substr(skipped, whole - skipped), whole};
}

Result<void> LengthPrefixedCodec::encode(std::string_view payload, Buffer& out) const {
  std::string_view before;  // the bytes of the header before the length, if the payload has them
  if (options_.keep_header) {
    if (payload.size() < header()) {
      return internal::frame_error(fmt::format(
          "a frame of {} bytes is shorter than its header of {}", payload.size(), header()));
    }
    before = payload.substr(0, options_.offset);
    payload.remove_prefix(header());
  }
  if (auto fits = internal::check_payload(payload.size(), options_.max_frame); !fits) return fits;

  const std::int64_t counted =
      options_.length_includes_header ? static_cast<std::int64_t>(header()) : 0;
  const std::int64_t length =
      static_cast<std::int64_t>(payload.size()) + counted - options_.adjustment;
  const std::size_t width = options_.length_bytes;
  if (length < 0 || (width < 8 && length >> (8 * width) != 0)) {
    return internal::frame_error(
        fmt::format("a payload of {} bytes has the length {}, out of the range of a {}-byte field",
                    payload.size(), length, width));
  }
  std::array<char, kMaxOffset + 8> head{};
  before.copy(head.data(), before.size());
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t shift = 8 * (options_.byte_order == std::endian::big ? width - 1 - i : i);
    head[options_.offset + i] = static_cast<char>(static_cast<std::uint64_t>(length) >> shift);
  }
  out.append(std::string_view(head.data(), header()));
  out.append(payload);
  return {};
}

}  // namespace weir
