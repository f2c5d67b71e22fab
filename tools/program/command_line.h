// The command line of a program: options with checked values, --version, and mistakes in a
// sentence.
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

// The whole text as a decimal number within the bounds; or a sentence about what is not one: an
// empty text, "1e3" or "0x10" for a whole number, "nan".
template <typename T>
using Checked = std::expected<T, std::string>;
Checked<std::int64_t> read_whole_number(const std::string& text, std::int64_t least,
                                        std::int64_t most);
Checked<double> read_number(const std::string& text, double least, double most);

// An option whose value is what `read`, a Checked<T>(const std::string&), makes of the text.
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

// An option whose value is a number from `least` to `most`; `value` is its default.
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

// An option in seconds, fractions allowed.
CLI::Option* seconds_option(CLI::App& app, const std::string& name, Duration& value, double least,
                            double most, const std::string& what);

// An option whose value is a text, of a file for example, that must not be empty: an empty one is
// mostly a shell variable that was not set.
CLI::Option* text_option(CLI::App& app, const std::string& name, std::string& value,
                         const std::string& type, const std::string& what);

// Reads the command line. Nothing: the program goes on. Otherwise main() returns this: 0 after
// --help or --version; 2 after a sentence on standard error that names the mistake, an option that
// does not exist before anything that is missing.
std::optional<int> read_command_line(CLI::App& app, int argc, char** argv);

}  // namespace weir::program
