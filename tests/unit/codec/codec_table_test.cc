// Tables: what stands at the front of which bytes.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "unit/codec/codec_check.h"

namespace weir::test {
namespace {

using namespace std::string_literals;

struct Row {
  std::string bytes;
  std::string outcome;
};

template <FrameCodec C>
void expect_table(const C& codec, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    EXPECT_EQ(show(codec.decode(row.bytes)), row.outcome) << testing::PrintToString(row.bytes);
  }
}

template <FrameCodec C>
std::string encoded(const C& codec, std::string_view payload) {
  Buffer out;
  const auto result = codec.encode(payload, out);
  return result ? out.take() : "error: " + result.error().message();
}

TEST(LineCodec, EndsLinesAtLfAndAtCrLf) {
  expect_table(LineCodec(), {
                                {"", "more"},
                                {"\n", "frame <> of 1"},
                                {"\r\n", "frame <> of 2"},
                                {"\r", "more"},
                                {"a", "more"},
                                {"a\n", "frame <a> of 2"},
                                {"a\r\nb\n", "frame <a> of 3"},
                                {"a\r\r\n", "frame <a\r> of 4"},
                                {"a\rb\n", "frame <a\rb> of 4"},
                                {"a\0b\n"s, "frame <a\0b> of 4"s},
                                {"\n\n", "frame <> of 1"},
                            });
  expect_table(LineCodec({.strip_cr = false}), {
                                                   {"\r\n", "frame <\r> of 2"},
                                                   {"a\n", "frame <a> of 2"},
                                               });
}

TEST(LineCodec, F65_TheBoundIsWithoutTheEnd) {
  const std::string error = "error: a line is longer than 3 bytes, the most that is accepted";
  expect_table(LineCodec({.max_frame = 3}), {
                                                {"abc", "more"},
                                                {"abc\n", "frame <abc> of 4"},
                                                {"abc\r", "more"},
                                                {"abc\r\n", "frame <abc> of 5"},
                                                {"abcd", error},
                                                {"abcd\n", error},
                                                {"abc\r\r", error},
                                                {"abc\r\r\n", error},
                                                {"abc\rd", error},
                                                {"ab\r\r", "more"},
                                                {"ab\r\r\n", "frame <ab\r> of 5"},
                                            });
  expect_table(LineCodec({.max_frame = 3, .strip_cr = false}), {
                                                                   {"abc", "more"},
                                                                   {"abc\n", "frame <abc> of 4"},
                                                                   {"ab\r\n", "frame <ab\r> of 4"},
                                                                   {"abc\r", error},
                                                                   {"abc\r\n", error},
                                                               });
}

TEST(LineCodec, SkipsAnOverlongLineToItsEndIfSoWanted) {
  const LineCodec codec({.max_frame = 3, .skip_overlong = true});
  std::size_t progress = 0;
  const auto decode = [&](std::string_view bytes) { return show(codec.decode(bytes, progress)); };
  EXPECT_EQ(decode("abc\r"), "more");
  EXPECT_EQ(decode("abc\rd"), "error: a line is longer than 3 bytes, the most that is accepted");
  EXPECT_TRUE(codec.recovers(progress));
  EXPECT_EQ(decode("abc\rd"), "skip 4");
  EXPECT_EQ(decode("d"), "more");  // the byte beside which the number lives
  EXPECT_EQ(decode("def"), "skip 2");
  EXPECT_EQ(decode("f\nxy\n"), "skip 2");
  EXPECT_FALSE(codec.recovers(progress));
  EXPECT_EQ(decode("xy\n"), "frame <xy> of 3");
  EXPECT_EQ(decode("wxyz\n"), "error: a line is longer than 3 bytes, the most that is accepted");
  EXPECT_EQ(decode("wxyz\n"), "skip 5");
}

TEST(LineCodec, EncodesWhatItCanDecode) {
  EXPECT_EQ(encoded(LineCodec(), "abc"), "abc\n");
  EXPECT_EQ(encoded(LineCodec(), ""), "\n");
  EXPECT_EQ(encoded(LineCodec(), "abc\r"), "abc\r\r\n");
  EXPECT_EQ(encoded(LineCodec({.strip_cr = false}), "abc\r"), "abc\r\n");
  EXPECT_EQ(encoded(LineCodec({.write_crlf = true}), "abc"), "abc\r\n");
  EXPECT_EQ(encoded(LineCodec(), "a\nb"),
            "error: byte 1 of the payload is a line feed, which would end the line");
  EXPECT_EQ(encoded(LineCodec({.max_frame = 3}), "abcd"),
            "error: a payload of 4 bytes; at most 3 are accepted");
}

TEST(DelimiterCodec, EndsFramesAtTheFirstDelimiter) {
  const std::string error = "error: no delimiter within 3 bytes, the most that a frame may have";
  expect_table(DelimiterCodec("--", 3), {
                                            {"", "more"},
                                            {"-", "more"},
                                            {"--", "frame <> of 2"},
                                            {"---", "frame <> of 2"},
                                            {"a-b--", "frame <a-b> of 5"},
                                            {"abc", "more"},
                                            {"abc-", "more"},
                                            {"abc--", "frame <abc> of 5"},
                                            {"abcd", "more"},
                                            {"abcd-", error},
                                            {"abcd--", error},
                                            {"abc-d", error},
                                        });
  expect_table(DelimiterCodec("\0"s, 3), {
                                             {"\0"s, "frame <> of 1"},
                                             {"abc", "more"},
                                             {"abc\0"s, "frame <abc> of 4"},
                                             {"abcd", error},
                                         });
}

TEST(DelimiterCodec, DoesNotEncodeWhatWouldEndSooner) {
  const DelimiterCodec codec("aab", 9);
  EXPECT_EQ(encoded(codec, "xyz"), "xyzaab");
  EXPECT_EQ(encoded(codec, ""), "aab");
  EXPECT_EQ(encoded(codec, "aaabaa"),
            "error: the delimiter would begin at byte 1 of the 6 bytes of the payload");
  EXPECT_EQ(encoded(codec, "xa"), "xaaab") << "found where it should be";
  EXPECT_EQ(encoded(codec, "0123456789"), "error: a payload of 10 bytes; at most 9 are accepted");
  EXPECT_EQ(encoded(DelimiterCodec("--"), "a-"),
            "error: the delimiter would begin at byte 1 of the 2 bytes of the payload");
}

TEST(FixedCodec, AllFramesHaveTheSameSize) {
  expect_table(FixedCodec(3), {{"", "more"}, {"ab", "more"}, {"abcd", "frame <abc> of 3"}});
  EXPECT_EQ(encoded(FixedCodec(3), "abc"), "abc");
  EXPECT_EQ(encoded(FixedCodec(3), "abcd"), "error: a payload of size 4; every frame has size 3");
  EXPECT_EQ(encoded(FixedCodec(3), ""), "error: a payload of size 0; every frame has size 3");
}

TEST(VarintCodec, F65_LengthsAtTheBounds) {
  const VarintCodec codec(300);
  const std::string most(300, 'm');
  const std::string wide = "error: the length has more than 64 bits";
  expect_table(
      codec,
      {
          {"", "more"},
          {"\0"s, "frame <> of 1"},
          {"\x01", "more"},
          {"\x01z", "frame <z> of 2"},
          {"\x80", "more"},
          {"\xAC\x02" + most, "frame <" + most + "> of 302"},
          {"\xAC\x02" + most.substr(1), "more"},
          {"\xAD\x02", "error: the length is 301 bytes of payload; at most 300 are accepted"},
          {"\x80\x80\x80\x80\x08",
           "error: the length is 2147483648 bytes of payload; at most 300 are accepted"},
          {"\xFF\xFF\xFF\xFF\x0F",
           "error: the length is 4294967295 bytes of payload; at most 300 are accepted"},
          {std::string(9, '\x80') + "\x01",
           "error: the length is 9223372036854775808 bytes of payload; at most 300 are accepted"},
          {std::string(9, '\xFF') + "\x01",
           "error: the length is 18446744073709551615 bytes of payload; at most 300 are "
           "accepted"},
          {std::string(9, '\xFF'), "more"},
          {std::string(9, '\xFF') + "\x02", wide},
          {std::string(9, '\x80') + "\x80", wide},
          {std::string(10, '\xFF'), wide},
          {"\x80\x00"s, "error: the length 0 is written in 2 bytes, more than it needs"},
          {"\x85\x80\x00"s, "error: the length 5 is written in 3 bytes, more than it needs"},
          {std::string(9, '\x80') + "\x00"s,
           "error: the length 0 is written in 10 bytes, more than it needs"},
      });
}

TEST(VarintCodec, Encodes) {
  EXPECT_EQ(encoded(VarintCodec(), ""), "\0"s);
  EXPECT_EQ(encoded(VarintCodec(), std::string(127, 'x')), "\x7F" + std::string(127, 'x'));
  EXPECT_EQ(encoded(VarintCodec(), std::string(128, 'x')), "\x80\x01" + std::string(128, 'x'));
  EXPECT_EQ(encoded(VarintCodec(2), "abc"), "error: a payload of 3 bytes; at most 2 are accepted");
}

// `value` as `width` bytes.
std::string field(std::uint64_t value, std::size_t width, std::endian order = std::endian::big) {
  std::string bytes;
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t place = order == std::endian::big ? width - 1 - i : i;
    bytes += static_cast<char>(value >> (8 * place));
  }
  return bytes;
}

TEST(LengthPrefixedCodec, EveryWidthAndOrder) {
  for (const std::size_t width : {1U, 2U, 4U, 8U}) {
    for (const std::endian order : {std::endian::big, std::endian::little}) {
      const LengthPrefixedCodec codec({.length_bytes = width, .byte_order = order});
      const std::string header = field(200, width, order);
      const std::string payload(200, 'p');
      EXPECT_EQ(encoded(codec, payload), header + payload);
      for (std::size_t n = 0; n < width + 200; ++n) {
        ASSERT_EQ(show(codec.decode((header + payload).substr(0, n))), "more") << n;
      }
      EXPECT_EQ(show(codec.decode(header + payload + "next")),
                "frame <" + payload + "> of " + std::to_string(200 + width));
    }
  }
}

TEST(LengthPrefixedCodec, F65_LengthsAtTheBounds) {
  constexpr std::size_t kMax = 100;
  const std::string most(kMax, 'm');
  for (const std::size_t width : {1U, 2U, 4U, 8U}) {
    const LengthPrefixedCodec codec({.length_bytes = width, .max_frame = kMax});
    const auto refused = [&](std::uint64_t length) {
      const std::string shown = show(codec.decode(field(length, width)));
      return shown.starts_with("error: the length field is " + std::to_string(length)) &&
             shown.ends_with("; at most 100 are accepted");
    };
    EXPECT_EQ(show(codec.decode(field(0, width))), "frame <> of " + std::to_string(width));
    EXPECT_EQ(show(codec.decode(field(1, width) + "x")),
              "frame <x> of " + std::to_string(width + 1));
    EXPECT_EQ(show(codec.decode(field(kMax, width))), "more");
    EXPECT_EQ(show(codec.decode(field(kMax, width) + most)),
              "frame <" + most + "> of " + std::to_string(width + kMax));
    EXPECT_TRUE(refused(kMax + 1));
    EXPECT_TRUE(refused(0xFF));
    for (unsigned bit = 7; bit < 8 * width; ++bit) {  // 2^31 and 2^63 among them
      EXPECT_TRUE(refused(std::uint64_t{1} << bit)) << bit;
      EXPECT_TRUE(refused(~std::uint64_t{0} >> (63 - bit))) << bit;
    }
  }
}

TEST(LengthPrefixedCodec, F65_SumsThatWouldOverflowOrBecomeNegative) {
  constexpr std::int64_t kMost = std::int64_t{1} << 48;
  const LengthPrefixedCodec includes({.length_bytes = 8, .length_includes_header = true});
  EXPECT_EQ(show(includes.decode(field(8, 8))), "frame <> of 8");
  EXPECT_EQ(show(includes.decode(field(9, 8) + "x")), "frame <x> of 9");
  EXPECT_EQ(show(includes.decode(field(7, 8))),
            "error: the length field is 7, which leaves -1 bytes for the payload");
  EXPECT_TRUE(show(includes.decode(field(0, 8))).starts_with("error: "));
  EXPECT_TRUE(show(includes.decode(field(~std::uint64_t{0}, 8))).starts_with("error: "));
  const LengthPrefixedCodec up({.length_bytes = 8, .adjustment = kMost, .max_frame = kMost});
  EXPECT_EQ(show(up.decode(field(0, 8))), "more");
  const LengthPrefixedCodec down({.length_bytes = 8, .adjustment = -kMost, .max_frame = kMost});
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    const std::uint64_t length = std::uint64_t{1} << bit;
    EXPECT_TRUE(show(up.decode(field(length, 8))).starts_with("error: ")) << bit;
    const std::string lower = show(down.decode(field(length, 8)));
    if (bit == 48) {
      EXPECT_EQ(lower, "frame <> of 8");
    } else if (bit == 49) {
      EXPECT_EQ(lower, "more");
    } else {
      EXPECT_TRUE(lower.starts_with("error: ")) << bit;
    }
  }
}

TEST(LengthPrefixedCodec, BytesBeforeTheLengthAreSkippedOrKept) {
  LengthPrefixedCodec::Options options{.length_bytes = 2, .offset = 3};
  const std::string stream = "HDR"s + field(4, 2) + "bodyNEXT";
  EXPECT_EQ(show(LengthPrefixedCodec(options).decode(stream)), "frame <body> of 9");
  EXPECT_EQ(show(LengthPrefixedCodec(options).decode(stream.substr(0, 4))), "more");
  EXPECT_EQ(encoded(LengthPrefixedCodec(options), "body"), "\0\0\0"s + field(4, 2) + "body");
  options.keep_header = true;
  const LengthPrefixedCodec whole(options);
  EXPECT_EQ(show(whole.decode(stream)), "frame <" + stream.substr(0, 9) + "> of 9");
  EXPECT_EQ(encoded(whole, "HDR??body"), stream.substr(0, 9)) << "the length is set";
  EXPECT_EQ(encoded(whole, "HDR?"), "error: a frame of 4 bytes is shorter than its header of 5");
}

TEST(LengthPrefixedCodec, AdjustmentIsForWhatTheLengthDoesNotCount) {
  // A checksum of four bytes that is not counted.
  const LengthPrefixedCodec more({.length_bytes = 1, .adjustment = 4});
  EXPECT_EQ(show(more.decode("\x02xyCRC4")), "frame <xyCRC4> of 7");
  EXPECT_EQ(encoded(more, "xyCRC4"), "\x02xyCRC4");
  EXPECT_EQ(encoded(more, "xyz"),
            "error: a payload of 3 bytes has the length -1, out of the range of a 1-byte field");
  EXPECT_EQ(encoded(more, std::string(260, 'x')),
            "error: a payload of 260 bytes has the length 256, out of the range of a 1-byte field");
  EXPECT_EQ(encoded(more, std::string(259, 'x')), "\xFF" + std::string(259, 'x'));
}

TEST(CodecDeathTest, OptionsThatMakeNoSense) {
  EXPECT_DEATH(LineCodec({.max_frame = 0}), "LineCodec: max_frame is 0");
  EXPECT_DEATH(LineCodec({.strip_cr = false, .write_crlf = true}), "write_crlf without strip_cr");
  EXPECT_DEATH(LineCodec({.max_frame = std::size_t{1} << 32, .skip_overlong = true}),
               "it must be below 4 GiB");
  EXPECT_DEATH(DelimiterCodec(""), "a delimiter of 0 bytes");
  EXPECT_DEATH(DelimiterCodec(std::string(257, 'x')), "a delimiter of 257 bytes");
  EXPECT_DEATH(FixedCodec(0), "FixedCodec");
  EXPECT_DEATH(VarintCodec(kLargestMaxFrame + 1), "VarintCodec: max_frame");
  EXPECT_DEATH(LengthPrefixedCodec({.length_bytes = 3}), "length_bytes is 3");
  EXPECT_DEATH(LengthPrefixedCodec({.offset = 65}), "offset is 65");
  EXPECT_DEATH(LengthPrefixedCodec({.adjustment = std::int64_t{1} << 62}), "adjustment is");
}

}  // namespace
}  // namespace weir::test
