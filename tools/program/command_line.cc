#include "program/command_line.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <system_error>
#include <vector>

#include "program/standard_streams.h"

namespace weir::program {

namespace {

// The maximum number of different letters for a suggestion.
constexpr std::size_t kMostMistakes = 3;

template <typename T>
std::optional<T> whole_text_as(const std::string& text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

// The number of letters to insert, delete or change (Levenshtein distance).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t above_left = row[0]++;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = above_left + (a[i - 1] == b[j - 1] ? 0 : 1);
      above_left = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

// "; did you mean --connections?", or an empty text.
std::string suggestion(const CLI::App& app, std::string_view wrong) {
  std::string best;
  std::size_t least = std::min(kMostMistakes, wrong.size() / 2) + 1;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (const std::size_t mistakes = distance("--" + name, wrong); mistakes < least) {
        least = mistakes;
        best = name;
      }
    }
  }
  return best.empty() ? "" : "; did you mean --" + best + "?";
}

// The first unknown option on the command line. CLI11 reports missing options first, which are
// often only a consequence.
std::string unknown_option(const CLI::App& app) {
  std::vector<std::string> left = app.remaining(true);
  // The words after the first one belong to a subcommand, which has its own options.
  if (app.get_prefix_command() && !left.empty()) left.resize(1);
  const auto wrong = std::ranges::find_if(left, [](const std::string& word) {
    return word.size() > 1 && word.starts_with('-') && word != "--";
  });
  if (wrong == left.end()) return {};
  const std::string name = wrong->substr(0, wrong->find('='));
  return "unknown option " + name + suggestion(app, name);
}

}  // namespace

Checked<std::int64_t> read_whole_number(const std::string& text, std::int64_t least,
                                        std::int64_t most) {
  const auto value = whole_text_as<std::int64_t>(text);
  if (value && *value >= least && *value <= most) return *value;
  return std::unexpected(
      fmt::format("\"{}\" is not a whole number from {} to {}", text, least, most));
}

Checked<double> read_number(const std::string& text, double least, double most) {
  const auto value = whole_text_as<double>(text);
  if (value && *value >= least && *value <= most) return *value;  // NaN is not
  return std::unexpected(
      fmt::format("\"{}\" is not a number from {:g} to {:g}", text, least, most));
}

CLI::Option* seconds_option(CLI::App& app, const std::string& name, Duration& value, double least,
                            double most, const std::string& what) {
  using Seconds = std::chrono::duration<double>;
  const auto read = [least, most](const std::string& text) -> Checked<Duration> {
    const auto seconds = read_number(text, least, most);
    if (!seconds) return std::unexpected(seconds.error());
    return std::chrono::duration_cast<Duration>(Seconds(*seconds));
  };
  return checked_option(app, name, value, read, "SECONDS", what)
      ->default_str(fmt::format("{:g}", Seconds(value).count()));
}

CLI::Option* text_option(CLI::App& app, const std::string& name, std::string& value,
                         const std::string& type, const std::string& what) {
  const auto read = [](const std::string& text) -> Checked<std::string> {
    if (text.empty()) return std::unexpected("must not be empty");
    return text;
  };
  return checked_option(app, name, value, read, type, what);
}

std::optional<int> read_command_line(CLI::App& app, int argc, char** argv) {
  app.set_version_flag("--version", app.get_name() + " " WEIR_VERSION);
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return finish_output(app.exit(error));  // --help, --version
    const CLI::App* inner = &app;
    std::string name = app.get_name();
    while (!inner->get_subcommands().empty()) {
      inner = inner->get_subcommands().front();
      name += " " + inner->get_name();
    }
    std::string mistake = unknown_option(*inner);
    if (mistake.empty()) mistake = unknown_option(app);
    if (mistake.empty()) mistake = error.what();
    std::fprintf(stderr, "error: %s; see %s --help\n", mistake.c_str(), name.c_str());
    return 2;
  }
}

}  // namespace weir::program
