// fault_matrix: runs scenarios of weir once for each fault that each of their system calls, and
// each of their allocations, can have.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cells.h"
#include "workers.h"

namespace weir::test::matrix {
namespace {

constexpr std::string_view kHelp =
    R"(usage: fault_matrix [options]

Runs scenarios of weir (echo, relay, a hand-over, ...) in virtual time. In each run one system call
fails, or one allocation: every call, with every error that it can have, the first time, the second
time, ..., once and persistently. Exits with 1 if a run breaks a rule: crash, hang, spin, leak,
double close, wrong bytes, a missing or second on_close, an error that nobody is told of.

  --list             print the ids of the selected cells
  --cell ID          run one cell, with weir's log: echo/et/sendmsg/ENOBUFS/3/once
  --scenario NAME    only this scenario; may be repeated
  --calls            only failures of system calls
  --allocations      only failures of operator new
  --first-calls      only the first call of each kind ...
  --sample PERCENT   ... and this part of all others, always the same
  --jobs N           processes that run cells (default: one for each processor)
  --keep-going N     stop after this number of violations (default: 50)
  --help
)";

struct Options {
  bool list = false;
  bool calls = true;
  bool allocations = true;
  bool first_calls = false;
  unsigned sample = 0;
  bool all = true;
  std::string cell;
  std::vector<std::string_view> scenarios;
  WorkerOptions workers;
};

template <typename Number>
bool parse(const char* text, Number& number) {
  if (text == nullptr) return false;
  const char* end = text + std::strlen(text);
  return std::from_chars(text, end, number).ptr == end;
}

// False: the arguments are wrong.
bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : nullptr;
    bool used = true;
    bool good = true;
    if (name == "--cell") {
      good = value != nullptr;
      if (good) options.cell = value;
    } else if (name == "--scenario") {
      good = value != nullptr;
      if (good) options.scenarios.emplace_back(value);
    } else if (name == "--sample") {
      good = parse(value, options.sample) && options.sample <= 100;
      options.all = false;
    } else if (name == "--jobs") {
      good = parse(value, options.workers.jobs) && options.workers.jobs > 0;
    } else if (name == "--keep-going") {
      good = parse(value, options.workers.most_violations);
    } else {
      used = false;
      options.list = options.list || name == "--list";
      if (name == "--calls") options.allocations = false;
      if (name == "--allocations") options.calls = false;
      if (name == "--first-calls") {
        options.first_calls = true;
        options.all = false;
      }
      good = name == "--list" || name == "--calls" || name == "--allocations" ||
             name == "--first-calls";
    }
    if (!good) return false;
    i += used ? 1 : 0;
  }
  return true;
}

// The same number for the same text, everywhere (FNV-1a).
std::uint32_t number_of(std::string_view text) {
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash ^ (hash >> 16);
}

bool selected(const Cell& cell, const Options& options) {
  if (!options.cell.empty()) return cell.id() == options.cell;
  if (cell.of_allocations() ? !options.allocations : !options.calls) return false;
  if (options.all || (options.first_calls && cell.nth == 1)) return true;
  return number_of(cell.id()) % 100 < options.sample;
}

// False: a scenario fails without faults.
bool enumerate(const Options& options, std::vector<Cell>& cells) {
  const std::string wanted = options.cell.substr(0, options.cell.find('/'));
  bool good = true;
  for (const Scenario& scenario : scenarios()) {
    const auto named = [&](std::string_view name) { return name == scenario.name; };
    if (!options.scenarios.empty() && std::ranges::none_of(options.scenarios, named)) continue;
    if (!wanted.empty() && !named(wanted)) continue;
    std::vector<std::string> violations;
    for (const Cell& cell : cells_of(scenario, violations)) {
      if (selected(cell, options)) cells.push_back(cell);
    }
    for (const std::string& text : violations) {
      std::printf("%s, without a fault: %s\n", scenario.name, text.c_str());
      good = false;
    }
  }
  return good;
}

int run_one(const Cell& cell) {
  const Outcome outcome = run(cell);
  std::printf("%s: %s\n", cell.id().c_str(),
              outcome.reached ? "the fault happened" : "the scenario did not come to the fault");
  for (const std::string& text : outcome.violations) std::printf("  %s\n", text.c_str());
  return outcome.violations.empty() ? 0 : 1;
}

int run_all(const std::vector<Cell>& cells, const Options& options, const char* program) {
  const Summary summary = run_in_workers(cells, options.workers, [&](const Violation& found) {
    std::printf("%s\n", found.text.c_str());
    if (!found.log.empty()) std::printf("  log: %s\n", found.log.c_str());
    std::printf("  again: %s --cell %s\n", program, cells[found.cell].id().c_str());
    std::fflush(stdout);
  });
  std::printf("%zu cells, %zu of them came to their fault, %zu violations, %.1f s\n", summary.cells,
              summary.reached, summary.violations, summary.seconds);
  return summary.violations == 0 && summary.cells == cells.size() ? 0 : 1;
}

int run_program(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    std::fwrite(kHelp.data(), 1, kHelp.size(), stdout);
    return 0;
  }
  Options options;
  if (!parse(argc, argv, options)) {
    std::fwrite(kHelp.data(), 1, kHelp.size(), stderr);
    return 2;
  }
  ::prctl(PR_SET_TIMERSLACK, 1);  // the short waits of StageTable are short
  std::vector<Cell> cells;
  if (!enumerate(options, cells)) return 1;
  if (cells.empty()) {
    std::fprintf(stderr, "no such cell\n");
    return 2;
  }
  if (options.list) {
    for (const Cell& cell : cells) std::printf("%s\n", cell.id().c_str());
    return 0;
  }
  if (!options.cell.empty()) return run_one(cells.front());
  return run_all(cells, options, argv[0]);
}

}  // namespace
}  // namespace weir::test::matrix

int main(int argc, char** argv) { return weir::test::matrix::run_program(argc, argv); }
