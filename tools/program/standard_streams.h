// Standard input, output and error of a program that may be started with any of them closed, or
// with an output that cannot be written.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace weir::program {

// Call it first in main(). Opens /dev/null for each of the descriptors 0 to 2 that is closed: a
// socket or file opened later would get this number and receive the printed text. Reading from such
// an input returns end of file. Writing to such an output fails, as on a closed descriptor, so that
// finish_output() reports it. Text for such a `stderr` is discarded.
void keep_standard_descriptors();

// Prints to standard output. Does not throw on a write error, unlike fmt::print(); finish_output()
// reports it.
template <typename... Values>
void print(fmt::format_string<Values...> format, Values&&... values) {
  std::fputs(fmt::format(format, std::forward<Values>(values)...).c_str(), stdout);
}

// Call it last in main(). Flushes standard output and returns `status`. If output was lost, prints
// an error message to standard error and, if `status` is 0, returns 1.
[[nodiscard]] int finish_output(int status);

}  // namespace weir::program
