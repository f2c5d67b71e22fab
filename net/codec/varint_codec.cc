#include "weir/net/codec/varint_codec.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>

namespace weir {
namespace {

// Nine bytes carry 63 bits, so only the lowest bit of the tenth is valid.
constexpr std::size_t kMaxBytes = 10;

}  // namespace

VarintCodec::VarintCodec(std::size_t max_frame) : max_frame_(max_frame) {
  internal::check_max_frame(max_frame, "VarintCodec");
}

Decoded VarintCodec::decode(std::string_view bytes) const {
  std::uint64_t length = 0;
  std::size_t used = 0;
  while (true) {
    if (used == bytes.size()) return std::nullopt;
    const auto byte = static_cast<unsigned char>(bytes[used]);
    if (used == kMaxBytes - 1 && byte > 1) {
      return internal::frame_error("the length has more than 64 bits");
    }
    length |= std::uint64_t{byte & 0x7FU} << (7 * used);
    ++used;
    if ((byte & 0x80U) == 0) {
      if (byte == 0 && used > 1) {
        return internal::frame_error(
            fmt::format("the length {} is written in {} bytes, more than it needs", length, used));
      }
      break;
    }
  }
  if (length > max_frame_) {
    return internal::frame_error(fmt::format(
        "the length is {} bytes of payload; at most {} are accepted", length, max_frame_));
  }
  const auto size = static_cast<std::size_t>(length);
  if (bytes.size() - used < size) return std::nullopt;
  return Frame{bytes.substr(used, size), used + size};
}

std::size_t VarintCodec::longest_frame() const {
  std::size_t prefix = 1;
  for (std::size_t rest = max_frame_; rest >= 0x80; rest >>= 7) ++prefix;
  return prefix + max_frame_;
}

Result<void> VarintCodec::encode(std::string_view payload, Buffer& out) const {
  if (auto fits = internal::check_payload(payload.size(), max_frame_); !fits) return fits;
  std::array<char, kMaxBytes> prefix{};
  std::size_t used = 0;
  std::uint64_t rest = payload.size();
  for (; rest >= 0x80; rest >>= 7) prefix[used++] = static_cast<char>((rest & 0x7F) | 0x80);
  prefix[used++] = static_cast<char>(rest);
  out.append(std::string_view(prefix.data(), used));
  out.append(payload);
  return {};
}

}  // namespace weir
