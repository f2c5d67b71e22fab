// Standard input, output and error of a program that may be started with any of them closed, or
// with an output that cannot take what is written.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace weir::program {

// First in main(): opens /dev/null in the place of each of descriptors 0 to 2 that is closed. A
// socket or a file that is opened later would take its number, and receive what is printed. Input
// is at its end then; output fails, as it does on a closed descriptor, so that finish_output()
// reports it. `stderr` goes nowhere.
void keep_standard_descriptors();

// On standard output. What cannot be written is reported by finish_output(), where fmt::print()
// would throw.
template <typename... Values>
void print(fmt::format_string<Values...> format, Values&&... values) {
  std::fputs(fmt::format(format, std::forward<Values>(values)...).c_str(), stdout);
}

// Last in main(): writes what is left of standard output. Returns `status`; but 1, after a sentence
// on standard error, if output was lost and `status` is 0.
[[nodiscard]] int finish_output(int status);

}  // namespace weir::program
