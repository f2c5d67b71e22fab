// What the options of programs take and refuse, and what a mistake is called.

#include "program/command_line.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace weir::program {
namespace {

using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

std::optional<int> read(CLI::App& app, std::vector<std::string> words) {
  std::vector<char*> argv;
  words.insert(words.begin(), "test");
  for (std::string& word : words) argv.push_back(word.data());
  return read_command_line(app, static_cast<int>(argv.size()), argv.data());
}

// What a command line is refused with.
std::string refusal(CLI::App& app, const std::vector<std::string>& words) {
  CaptureStderr();
  const auto status = read(app, words);
  std::string text = GetCapturedStderr();
  EXPECT_EQ(status, 2) << text;
  return text;
}

TEST(CommandLine, WholeNumbersAreTakenWhole) {
  EXPECT_EQ(read_whole_number("0", 0, 10), 0);
  EXPECT_EQ(read_whole_number("010", 0, 10), 10);  // no octal
  EXPECT_EQ(read_whole_number("-3", -5, 5), -3);
  for (const char* text : {"", " 1", "1 ", "1x", "1e3", "0x1", "1.5", "+1", "-1", "11",
                           "99999999999999999999", "many"}) {
    EXPECT_FALSE(read_whole_number(text, 0, 10)) << text;
  }
  EXPECT_EQ(read_whole_number("1e3", 1, 9).error(), "\"1e3\" is not a whole number from 1 to 9");
}

TEST(CommandLine, NumbersAreFiniteAndInRange) {
  EXPECT_EQ(read_number("0.25", 0, 1), 0.25);
  EXPECT_EQ(read_number("1e-1", 0, 1), 0.1);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "-0.1", "1.1", "1,0", "0.5s"}) {
    EXPECT_FALSE(read_number(text, 0, 1)) << text;
  }
  EXPECT_EQ(read_number("-1", 0.01, 1e6).error(), "\"-1\" is not a number from 0.01 to 1e+06");
}

TEST(CommandLine, OptionsOfAllKindsTakeTheirValues) {
  CLI::App app("", "program");
  std::size_t count = 7;
  Duration time = std::chrono::seconds(1);
  std::string file;
  double rate = 0;
  number_option(app, "--count", count, 0, 100, "N", "");
  number_option(app, "--rate", rate, 0, 100, "N", "");
  seconds_option(app, "--time", time, 0, 100, "");
  text_option(app, "--file", file, "FILE", "");
  EXPECT_EQ(read(app, {}), std::nullopt);
  EXPECT_EQ(count, 7U);
  EXPECT_EQ(time, std::chrono::seconds(1));
  EXPECT_EQ(read(app, {"--count", "0", "--rate=2.5", "--time", "0.25", "--file", "[a,b]"}),
            std::nullopt);
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(rate, 2.5);
  EXPECT_EQ(time, std::chrono::milliseconds(250));
  EXPECT_EQ(file, "[a,b]");
}

TEST(CommandLine, ARefusedValueIsNamedWithItsOption) {
  CLI::App app("", "program");
  std::size_t count = 7;
  std::string file;
  number_option(app, "--count", count, 1, 100, "N", "");
  text_option(app, "--file", file, "FILE", "");
  EXPECT_EQ(refusal(app, {"--count", "-1"}),
            "error: --count: \"-1\" is not a whole number from 1 to 100; see program --help\n");
  EXPECT_EQ(refusal(app, {"--count", ""}),
            "error: --count: \"\" is not a whole number from 1 to 100; see program --help\n");
  EXPECT_EQ(refusal(app, {"--file", ""}), "error: --file: must not be empty; see program --help\n");
  EXPECT_EQ(count, 7U);
}

TEST(CommandLine, AMistypedOptionIsNamedBeforeWhatIsMissing) {
  CLI::App app("", "program");
  std::string address;
  app.add_option("--listen", address)->required();
  EXPECT_EQ(refusal(app, {"--lisen", "x"}),
            "error: unknown option --lisen; did you mean --listen?; see program --help\n");
  EXPECT_EQ(refusal(app, {"--lisen=x"}),
            "error: unknown option --lisen; did you mean --listen?; see program --help\n");
  EXPECT_EQ(refusal(app, {"--quite-another"}),
            "error: unknown option --quite-another; see program --help\n");
  EXPECT_EQ(refusal(app, {"--listen", "x", "-q"}),
            "error: unknown option -q; see program --help\n");
  EXPECT_EQ(refusal(app, {}), "error: --listen is required; see program --help\n");
}

TEST(CommandLine, AMistypedOptionOfASubcommandIsNamed) {
  CLI::App app("", "program");
  app.require_subcommand(1);
  CLI::App& mode = *app.add_subcommand("mode");
  std::string address;
  std::size_t connections = 1;
  mode.add_option("address", address)->required();
  number_option(mode, "--connections", connections, 1, 9, "N", "");
  EXPECT_EQ(refusal(app, {"mode", "x", "--conections", "3"}),
            "error: unknown option --conections; did you mean --connections?; see program mode "
            "--help\n");
  EXPECT_EQ(refusal(app, {"mode", "x", "--connections", "10"}),
            "error: --connections: \"10\" is not a whole number from 1 to 9; see program mode "
            "--help\n");
}

}  // namespace
}  // namespace weir::program
