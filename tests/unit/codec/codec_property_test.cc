// What holds for every codec: any way of cutting the stream gives the same frames and the same
// error, what was encoded decodes, and no byte is searched again and again.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "unit/codec/codec_check.h"

namespace weir::test {
namespace {

using namespace std::string_view_literals;

// Bytes of which the codecs above make something now and then.
std::string random_stream(std::mt19937& random, std::size_t size) {
  constexpr std::string_view kLikely = "\n\r;-aab\0\0\0\1\2\3\4\5\x7F\x80\xFF"sv;
  std::uniform_int_distribution<unsigned> dice(0, 255);
  std::string bytes(size, '\0');
  for (char& byte : bytes) {
    byte = dice(random) < 200 ? kLikely[dice(random) % kLikely.size()]
                              : static_cast<char>(dice(random));
  }
  return bytes;
}

// Well-formed frames, one after the other.
template <FrameCodec C>
std::string random_frames(const C& codec, std::mt19937& random, int count) {
  Buffer out;
  std::uniform_int_distribution<std::size_t> sizes(0, 24);
  for (int i = 0; i < count; ++i) {
    static_cast<void>(codec.encode(random_stream(random, sizes(random)), out));  // some are refused
  }
  return out.take();
}

TEST(Codec, EverySplitOfAShortStreamGivesTheSame) {
  std::mt19937 random(1);
  constexpr std::size_t kSize = 10;
  for_each_codec([&](const char* name, const auto& codec) {
    SCOPED_TRACE(name);
    for (int round = 0; round < 8; ++round) {
      std::string bytes = random_stream(random, kSize);
      if (round % 2 == 0) bytes = random_frames(codec, random, 4).substr(0, kSize);
      for (std::uint32_t cuts = 0; cuts < 1u << (kSize - 1); ++cuts) {
        std::size_t at = 0;
        const auto next_size = [&] {  // bit i of cuts: a cut behind byte i
          std::size_t size = 1;
          while (at + size < kSize && (cuts >> (at + size - 1) & 1) == 0) ++size;
          at += size;
          return size;
        };
        ASSERT_EQ(broken_by(codec, bytes, next_size), "") << testing::PrintToString(bytes);
      }
    }
  });
}

TEST(Codec, RandomPiecesOfLongStreamsGiveTheSame) {
  std::mt19937 random(2);
  std::size_t frames = 0;
  std::size_t errors = 0;
  for_each_codec([&](const char* name, const auto& codec) {
    SCOPED_TRACE(name);
    for (int round = 0; round < 60; ++round) {
      const std::string bytes =
          round % 2 == 0 ? random_frames(codec, random, 40) : random_stream(random, 600);
      std::uniform_int_distribution<std::size_t> sizes(1, round % 3 == 0 ? 3 : 70);
      ASSERT_EQ(broken_by(codec, bytes, [&] { return sizes(random); }), "");
      ASSERT_EQ(broken_by(codec, bytes, [] { return std::size_t{1}; }), "");
      const Stream whole = feed_whole(codec, bytes);
      frames += whole.frames.size();
      if (!whole.error.empty()) ++errors;
      if (round % 2 == 0) {
        ASSERT_EQ(whole.error, "");
        ASSERT_EQ(whole.consumed, bytes.size());
      }
    }
  });
  EXPECT_GT(frames, 10'000u);
  EXPECT_GT(errors, 500u);
}

TEST(Codec, WhatWasEncodedDecodes) {
  std::mt19937 random(3);
  std::size_t accepted = 0;
  for_each_codec([&](const char* name, const auto& codec) {
    SCOPED_TRACE(name);
    for (std::size_t size = 0; size <= 40; ++size) {
      for (int round = 0; round < 20; ++round) {
        const std::string payload = random_stream(random, size);
        std::string encoded;
        std::string broken = broken_by_encoding(codec, payload, encoded);
        if (broken.starts_with("refused: ")) continue;
        // Of a whole frame, the length may have been another before.
        if (broken == "another payload" && std::string_view(name) == "whole frames") {
          broken = broken_by_encoding(codec, std::string(encoded), encoded);
        }
        ASSERT_EQ(broken, "") << testing::PrintToString(payload);
        ++accepted;
      }
    }
  });
  EXPECT_GT(accepted, 3000u);
}

// A codec that looked at searched bytes again would find the ends that are put there afterwards.
template <SearchingCodec C>
void expect_no_byte_searched_again(const C& codec, std::string_view end, std::size_t size) {
  std::string bytes;
  std::size_t progress = 0;
  std::size_t searched = 0;
  for (std::size_t n = 1; n <= size; ++n) {
    bytes += 'x';
    const std::size_t before = progress;
    ASSERT_EQ(show(codec.decode(bytes, progress)), "more") << n;
    ASSERT_GE(progress, before);
    ASSERT_GE(progress + end.size(), n + 1) << "all but the beginning of an end is done with";
    searched += n - before;
    const std::size_t done = progress / end.size() * end.size();
    for (std::size_t at = before / end.size() * end.size(); at < done; at += end.size()) {
      end.copy(bytes.data() + at, end.size());
    }
  }
  EXPECT_LE(searched, size * end.size());
  bytes.append("x").append(end);
  const Decoded decoded = codec.decode(bytes, progress);
  ASSERT_TRUE(decoded && *decoded);
  EXPECT_EQ((*decoded)->payload.size(), size + 1);
  EXPECT_EQ(progress, 0u);
}

TEST(Codec, F28_OneByteFeedsSearchEachByteOnce) {
  constexpr std::size_t kSize = 20'000;
  expect_no_byte_searched_again(LineCodec({.max_frame = kSize + 1}), "\n", kSize);
  expect_no_byte_searched_again(LineCodec({.max_frame = kSize + 1, .strip_cr = false}), "\n",
                                kSize);
  expect_no_byte_searched_again(DelimiterCodec(";", kSize + 1), ";", kSize);
  expect_no_byte_searched_again(DelimiterCodec("\r\n\r\n", kSize + 1), "\r\n\r\n", kSize);
}

// 16 MiB, byte by byte: looking at all of it each time would take days.
TEST(Codec, F28_SixteenMebibytesByteByByte) {
  constexpr std::size_t kSize = 16 * 1024 * 1024;
  const std::string stream(kSize, 'x');
  const auto feed_bytes = [&](const auto& codec) {
    std::size_t progress = 0;
    for (std::size_t n = 1; n <= kSize; ++n) {
      const Decoded decoded = decode_frame(codec, std::string_view(stream).substr(0, n), progress);
      ASSERT_TRUE(decoded && !*decoded);
    }
  };
  feed_bytes(LineCodec({.max_frame = kSize}));
  feed_bytes(DelimiterCodec("\r\n\r\n", kSize));
  feed_bytes(FixedCodec(kSize + 1));
}

// The same when the stream is made of almost-ends.
TEST(Codec, F28_AlmostDelimitersAreNoWorse) {
  const std::string delimiter = std::string(DelimiterCodec::kMaxDelimiter - 1, 'a') + 'b';
  const DelimiterCodec codec(delimiter, 1024 * 1024);
  std::string stream;
  std::size_t progress = 0;
  for (int i = 0; i < 200; ++i) {
    stream.append(255, 'a').append("c");
    ASSERT_EQ(show(codec.decode(stream, progress)), "more");
    ASSERT_GE(progress + delimiter.size(), stream.size());
  }
}

// Whatever length is announced, nothing of that size is reserved, waited for or overflows.
TEST(Codec, F65_NoHeaderAloneIsAFrameAboveTheBound) {
  std::mt19937_64 random(65);
  for_each_codec([&](const char* name, const auto& codec) {
    SCOPED_TRACE(name);
    for (int round = 0; round < 2000; ++round) {
      std::string bytes(16, '\0');
      const std::uint64_t edge = std::uint64_t{1} << (random() % 64);
      std::uint64_t value = edge + random() % 3 - 1;
      if (round % 5 == 0) value = ~std::uint64_t{0} - random() % 3;
      for (char& byte : bytes) {
        byte = static_cast<char>(value);
        value = std::rotr(value, 8);
      }
      if (round % 2 == 0) std::reverse(bytes.begin(), bytes.end());
      ASSERT_EQ(broken_by(codec, bytes, [] { return std::size_t{1}; }), "");
      std::size_t progress = 0;
      const Decoded decoded = decode_frame(codec, bytes, progress);
      if (decoded && !*decoded) {  // what it still waits for is at most the largest frame
        bytes.append(400, 'x');
        std::size_t again = 0;
        const Decoded later = decode_frame(codec, bytes, again);
        ASSERT_TRUE(!later || *later) << "still not enough";
      }
    }
  });
}

}  // namespace
}  // namespace weir::test
