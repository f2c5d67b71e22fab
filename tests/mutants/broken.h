// Included into every source of the mutants' build, see run.py.
#pragma once

#include <cstdlib>

namespace weir::mutants {

// Whether the environment has chosen the mutant of this number. run.py writes a call of it where an
// entry has BROKEN.
inline bool broken(unsigned long number) {
  static const unsigned long chosen = [] {
    const char* const text = std::getenv("WEIR_MUTANT");
    return text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
  }();
  return chosen == number;
}

}  // namespace weir::mutants
