// A cell of the matrix: one scenario with one fault. It is run by itself and then judged.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "faults.h"
#include "scenario.h"

namespace weir::test::matrix {

struct Cell {
  const Scenario* scenario;
  Trigger trigger;
  const Site* site;
  const Fault* fault;
  std::uint64_t nth;  // call of the site, or allocation
  bool persistent;

  // "echo/et/sendmsg/ENOBUFS/3/once"
  std::string id() const;
  bool of_allocations() const { return fault->kind == Fault::Kind::no_memory; }
};

struct Outcome {
  bool reached = false;  // the fault happened
  std::vector<std::string> violations;
};

// The cells of one scenario, which is run without faults to count its calls. `violations` gets what
// is wrong without any fault.
std::vector<Cell> cells_of(const Scenario& scenario, std::vector<std::string>& violations);

Outcome run(const Cell& cell);

}  // namespace weir::test::matrix
