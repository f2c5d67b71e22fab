// Codecs: decoding many small frames, a large one, one byte at a time; and encoding.
#include <cstddef>
#include <string>
#include <string_view>

#include "bench.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/codec/delimiter_codec.h"
#include "weir/net/codec/frame.h"
#include "weir/net/codec/length_prefixed_codec.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/codec/varint_codec.h"

namespace weir::bench {
namespace {

constexpr std::size_t kLarge = 1024 * 1024;

template <typename Codec>
Codec make_codec();
template <>
LineCodec make_codec() {
  return LineCodec({.max_frame = kLarge});
}
template <>
DelimiterCodec make_codec() {
  return DelimiterCodec("\r\n\r\n", kLarge);
}
template <>
LengthPrefixedCodec make_codec() {
  return LengthPrefixedCodec({.max_frame = kLarge});
}
template <>
VarintCodec make_codec() {
  return VarintCodec(kLarge);
}

// At least `total` bytes of frames with this payload.
template <typename Codec>
std::string stream_of(const Codec& codec, std::string_view payload, std::size_t total) {
  Buffer stream;
  while (stream.size() < total) {
    if (!codec.encode(payload, stream)) return {};
  }
  return stream.take();
}

// Counts the frames in `bytes` and reads every payload.
template <typename Codec>
std::int64_t decode_all(const Codec& codec, std::string_view bytes) {
  std::int64_t frames = 0;
  while (!bytes.empty()) {
    std::size_t progress = 0;
    const Decoded decoded = decode_frame(codec, bytes, progress);
    if (!decoded || !*decoded) break;
    benchmark::DoNotOptimize((*decoded)->payload);
    bytes.remove_prefix((*decoded)->consume);
    ++frames;
  }
  return frames;
}

// Payloads of 32 bytes, 64 KiB of them.
template <typename Codec>
void decode_small(benchmark::State& state) {
  const Codec codec = make_codec<Codec>();
  const std::string stream = stream_of(codec, small_text(), 64 * 1024);
  Report report(state);
  std::int64_t frames = 0;
  for (auto _ : state) {
    benchmark::ClobberMemory();
    frames += decode_all(codec, stream);
  }
  report.done(frames, state.iterations() * static_cast<std::int64_t>(stream.size()));
}

// A payload of 1 MiB. Codecs with a length do not read it, so they report no bytes per second.
template <typename Codec>
void decode_large(benchmark::State& state) {
  const Codec codec = make_codec<Codec>();
  const std::string stream = stream_of(codec, std::string(kLarge, 'x'), 1);
  Report report(state);
  std::int64_t frames = 0;
  for (auto _ : state) {
    benchmark::ClobberMemory();
    frames += decode_all(codec, stream);
  }
  if constexpr (SearchingCodec<Codec>) {
    report.done(frames, frames * static_cast<std::int64_t>(stream.size()));
  } else {
    report.done(frames);
  }
}

// A frame of 256 bytes that arrives byte by byte: each byte is appended to a Buffer, and the codec
// is called. An item is a byte.
template <typename Codec>
void decode_bytewise(benchmark::State& state) {
  const Codec codec = make_codec<Codec>();
  const std::string stream = stream_of(codec, std::string(256, 'x'), 1);
  Buffer in;
  Report report(state);
  std::int64_t frames = 0;
  for (auto _ : state) {
    for (const char& byte : stream) {
      in.append(std::string_view(&byte, 1));
      std::size_t progress = in.progress();
      const Decoded decoded = decode_frame(codec, in.view(), progress);
      if (decoded && *decoded) {
        benchmark::DoNotOptimize((*decoded)->payload);
        in.consume((*decoded)->consume);
        ++frames;
      } else {
        in.set_progress(progress);
      }
    }
  }
  if (frames != state.iterations()) state.SkipWithError("a frame was not found");
  report.done(frames * static_cast<std::int64_t>(stream.size()));
}

template <typename Codec>
void encode(benchmark::State& state) {
  const Codec codec = make_codec<Codec>();
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::string payload(size, 'x');
  Buffer out;
  Report report(state);
  std::int64_t frames = 0;
  for (auto _ : state) {
    if (codec.encode(payload, out)) ++frames;
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
    if (out.size() >= 16 * 1024) out.clear();
  }
  report.done(frames, frames * static_cast<std::int64_t>(size));
}

BENCHMARK(decode_small<LineCodec>)->Name("decode_small/line");
BENCHMARK(decode_small<DelimiterCodec>)->Name("decode_small/delimiter");
BENCHMARK(decode_small<LengthPrefixedCodec>)->Name("decode_small/length_prefixed");
BENCHMARK(decode_small<VarintCodec>)->Name("decode_small/varint");
BENCHMARK(decode_large<LineCodec>)->Name("decode_large/line");
BENCHMARK(decode_large<DelimiterCodec>)->Name("decode_large/delimiter");
BENCHMARK(decode_large<LengthPrefixedCodec>)->Name("decode_large/length_prefixed");
BENCHMARK(decode_large<VarintCodec>)->Name("decode_large/varint");
BENCHMARK(decode_bytewise<LineCodec>)->Name("decode_bytewise/line");
BENCHMARK(decode_bytewise<DelimiterCodec>)->Name("decode_bytewise/delimiter");
BENCHMARK(decode_bytewise<LengthPrefixedCodec>)->Name("decode_bytewise/length_prefixed");
BENCHMARK(decode_bytewise<VarintCodec>)->Name("decode_bytewise/varint");

void payload_sizes(benchmark::internal::Benchmark* of) {
  of->ArgName("bytes")->Arg(32)->Arg(16 * 1024);
}
BENCHMARK(encode<LineCodec>)->Name("encode/line")->Apply(payload_sizes);
BENCHMARK(encode<DelimiterCodec>)->Name("encode/delimiter")->Apply(payload_sizes);
BENCHMARK(encode<LengthPrefixedCodec>)->Name("encode/length_prefixed")->Apply(payload_sizes);
BENCHMARK(encode<VarintCodec>)->Name("encode/varint")->Apply(payload_sizes);

}  // namespace
}  // namespace weir::bench
