// Standard input, output and error of a program that may be started with any of them closed, or
// with an output that cannot take what is written.
#pragma once

namespace weir::program {

// First in main(): opens /dev/null in the place of each of descriptors 0 to 2 that is closed. A
// socket or a file that is opened later would take its number, and receive what is printed. Input
// is at its end then; output fails, as it does on a closed descriptor, so that finish_output()
// reports it. `stderr` goes nowhere.
void keep_standard_descriptors();

// Last in main(): writes what is left of standard output. Returns `status`; but 1, after a sentence
// on standard error, if output was lost and `status` is 0.
[[nodiscard]] int finish_output(int status);

}  // namespace weir::program
