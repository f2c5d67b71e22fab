#include "weir/base/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace weir::test {
namespace {

using namespace std::string_literals;

TEST(Utf8, CodePointsOfEverySize) {
  const auto check = [](const std::string& text, char32_t value, std::size_t size) {
    const CodePoint got = first_code_point(text);
    EXPECT_EQ(got.value, value) << text;
    EXPECT_EQ(got.size, size) << text;
  };
  check("\0"s, 0, 1);
  check("ab", U'a', 1);
  check("\xC2\x80", 0x80, 2);
  check("\xDF\xBF", 0x7FF, 2);
  check("\xE0\xA0\x80", 0x800, 3);
  check("\xED\x9F\xBF", 0xD7FF, 3);
  check("\xEE\x80\x80", 0xE000, 3);
  check("\xF0\x90\x80\x80", 0x10000, 4);
  check("\xF4\x8F\xBF\xBF", 0x10FFFF, 4);
}

TEST(Utf8, WhatIsNoneIsFound) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(
      is_utf8("Gr\xC3\xBC\xC3\x9F"
              "e \xF0\x9F\x91\x8B"));
  const std::string bad[] = {
      "\x80",  // a continuation alone
      "\xC0\x80",
      "\xC1\xBF",  // overlong
      "\xE0\x9F\xBF",
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xED\xA0\x80",
      "\xED\xBF\xBF",  // surrogates
      "\xF4\x90\x80\x80",
      "\xF5\x80\x80\x80",  // above the last
      "\xFF",
      "\xC3",  // nothing follows
      "\xC3(",
      "\xE2\x82",
  };
  for (const std::string& text : bad) {
    EXPECT_EQ(first_code_point(text).size, 0u) << testing::PrintToString(text);
    EXPECT_FALSE(is_utf8("ok" + text + "ok")) << testing::PrintToString(text);
  }
}

TEST(Utf8, WhatDrivesATerminalIsNotPrintable) {
  for (const char32_t c :
       U"\x01\n\x1B\x7F\x80\x9B\x9F\u061C\u200B\u200F\u2028\u2029\u202E\u2066\uFEFF") {
    EXPECT_FALSE(is_printable(c)) << static_cast<unsigned>(c);  // also the 0 at its end
  }
  // Drawn as nothing: a soft hyphen, joiners, fillers, tags, separators, annotations,
  // noncharacters.
  for (const char32_t c : std::u32string_view(
           U"\u00AD\u034F\u115F\u17B4\u180E\u200D\u2060\u3164\uFFA0\uFFF9\uFFFB\U0001D173\U000E0001"
           U"\U000E0041\U000E007F\U000E0FFF")) {
    EXPECT_FALSE(is_printable(c)) << static_cast<unsigned>(c);
  }
  for (const char32_t c :
       std::u32string_view(U" ~\u00A0\u00E9\u2014\u20AC\u4E2D\uFE0F\uFFFD\U0001F44B")) {
    EXPECT_TRUE(is_printable(c)) << static_cast<unsigned>(c);
  }
  EXPECT_TRUE(is_printable(std::string_view("a \u4E2D\u20AC")));
  EXPECT_TRUE(is_printable(std::string_view()));
  EXPECT_FALSE(is_printable(std::string_view("a\tb")));
  EXPECT_FALSE(is_printable(std::string_view("\u4E2D\u202E")));
  EXPECT_FALSE(is_printable(std::string_view("a\xFF")));
}

}  // namespace
}  // namespace weir::test
