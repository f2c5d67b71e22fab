// Runs cells in child processes, so that a crash or a hang costs one cell.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "cells.h"

namespace weir::test::matrix {

struct WorkerOptions {
  std::size_t jobs = 0;              // 0: one for each processor
  std::size_t most_violations = 50;  // then the run ends
};

struct Violation {
  std::size_t cell;
  std::string text;
  std::string log;  // the last lines that the cell has logged
};

struct Summary {
  std::size_t cells = 0;  // that were run
  std::size_t reached = 0;
  std::size_t violations = 0;
  double seconds = 0;
};

// Prints progress and the time left to standard error.
Summary run_in_workers(const std::vector<Cell>& cells, const WorkerOptions& options,
                       const std::function<void(const Violation&)>& on_violation);

}  // namespace weir::test::matrix
