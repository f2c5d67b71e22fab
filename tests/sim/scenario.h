// One seed: draws a plan, runs it in a simulated world and checks everything at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "sim/plan.h"

namespace weir::test::simulation {

struct Outcome {
  std::string failure;  // empty: none
  std::uint64_t calls = 0;
  std::uint64_t digest = 0;
  Duration elapsed{};
};

// `trace`: called with a line for each system call; may be empty.
Outcome run_seed(std::uint64_t seed, const Limits& limits,
                 const std::function<void(const std::string&)>& trace = {});

// Limits under which the seed still fails, as narrow as could be found.
Limits shrink(std::uint64_t seed);

}  // namespace weir::test::simulation
