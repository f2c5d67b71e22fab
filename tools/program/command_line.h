// The command line of a program: options with checked values, --version, and an error message for a
// mistake.
//
//   CLI::App app("What it does.", "weir-example");
//   number_option(app, "--count", count, 1, 100, "N", "how often");
//   if (const auto status = read_command_line(app, argc, argv)) return *status;
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <type_traits>

#include "weir/base/clock.h"

namespace weir::program {

// The whole text as a decimal number within the bounds. Otherwise an error message, for example for
// an empty text, "1e3" or "0x10" for a whole number, or "nan".
template <typename T>
using Checked = std::expected<T, std::string>;
Checked<std::int64_t> read_whole_number(const std::string& text, std::int64_t least,
                                        std::int64_t most);
Checked<double> read_number(const std::string& text, double least, double most);

// An option with a value that `read`, a Checked<T>(const std::string&), makes from the text.
template <typename T, typename Read>
CLI::Option* checked_option(CLI::App& app, const std::string& name, T& value, Read read,
                            const std::string& type, const std::string& what) {
  return app
      .add_option_function<std::string>(
          name, [&value, read](const std::string& text) { value = read(text).value(); }, what)
      ->check(CLI::Validator(
          [read](const std::string& text) {
            const auto checked = read(text);
            return checked ? std::string() : checked.error();
          },
          ""))
      ->type_name(type);
}

// An option with a number from `least` to `most`; `value` is its default.
template <typename T>
requires std::integral<T> || std::same_as<T, double> CLI::Option* number_option(
    CLI::App& app, const std::string& name, T& value, std::type_identity_t<T> least,
    std::type_identity_t<T> most, const std::string& type, const std::string& what) {
  const auto read = [least, most](const std::string& text) -> Checked<T> {
    if constexpr (std::integral<T>) {
      const auto number = read_whole_number(text, static_cast<std::int64_t>(least),
                                            static_cast<std::int64_t>(most));
      if (!number) return std::unexpected(number.error());
      return static_cast<T>(*number);
    } else {
      return read_number(text, least, most);
    }
  };
  return checked_option(app, name, value, read, type, what)->default_str(fmt::format("{}", value));
}

// An option with a time in seconds; fractions are allowed.
CLI::Option* seconds_option(CLI::App& app, const std::string& name, Duration& value, double least,
                            double most, const std::string& what);

// An option with a text, such as a file name. It must not be empty: an empty text is usually a
// shell variable that was not set.
CLI::Option* text_option(CLI::App& app, const std::string& name, std::string& value,
                         const std::string& type, const std::string& what);

// Reads the command line. nullopt: the program continues. Otherwise main() returns the value: 0
// after --help or --version; 2 after an error message on standard error. An unknown option is
// reported before a missing one.
std::optional<int> read_command_line(CLI::App& app, int argc, char** argv);

}  // namespace weir::program
