#include "cells.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <new>
#include <string_view>
#include <utility>

#include "support/allocations.h"
#include "support/process_state.h"
#include "weir/base/log_line.h"

namespace weir::test::matrix {
namespace {

// Calls that fail in a row while no time passes. More of them is a spin: nothing has changed that
// could make the next one succeed. Each scenario has fewer connections and sockets than this.
constexpr std::uint64_t kMostFailuresAtOnce = 40;

constexpr std::array kTriggers{Trigger::level, Trigger::edge};

// A server that has no memory for a connection closes it, and tells only its log.
class NoMemoryLines {
 public:
  explicit NoMemoryLines(Stage& stage) {
    const SpareAllocations of_the_test;
    internal::advance_log_clock(std::chrono::seconds(1));  // no line is suppressed
    before_ = internal::set_log_observer([&stage](LogLevel, std::string_view line) {
      if (line.find("no memory") != std::string_view::npos) stage.report(line, Errno(ENOMEM));
    });
  }
  ~NoMemoryLines() {
    const SpareAllocations of_the_test;
    internal::set_log_observer(std::move(before_));
  }
  NoMemoryLines(const NoMemoryLines&) = delete;
  NoMemoryLines& operator=(const NoMemoryLines&) = delete;

 private:
  internal::LogObserver before_;
};

// Runs the scenario; true if it came to its end.
bool play(const Scenario& scenario, Stage& stage) {
  const ScopedFaults use(stage.table());
  const NoMemoryLines lines(stage);
  try {
    scenario.run(stage);
    return true;
  } catch (const GiveUp&) {
  } catch (const SystemError& error) {
    stage.report("the constructor", error.error());
  } catch (const std::bad_alloc&) {
    stage.report("a call", Errno(ENOMEM));
  }
  return false;
}

// The errors that can follow from the fault: its own, and the ends that the other side of a
// connection, or a later attempt, sees.
bool may_follow(const Cell& cell, Errno error) {
  constexpr std::array kConsequences{0, ECONNRESET, EPIPE, ETIMEDOUT, ECONNREFUSED};
  const auto is = [&](int code) { return error == code; };
  if (std::ranges::any_of(kConsequences, is) || std::ranges::any_of(cell.site->consequences, is) ||
      std::ranges::any_of(cell.scenario->consequences, is)) {
    return true;
  }
  switch (cell.fault->kind) {
    case Fault::Kind::error:
    case Fault::Kind::late_error:
    case Fault::Kind::option:
      return error == cell.fault->value;
    case Fault::Kind::no_memory:
      return error == ENOMEM;
    case Fault::Kind::limit:
    case Fault::Kind::leave:
    case Fault::Kind::result:
    case Fault::Kind::wall_clock:
      return false;
  }
  return false;
}

bool is_error(const Fault& fault, int error) {
  return (fault.kind == Fault::Kind::error || fault.kind == Fault::Kind::late_error) &&
         fault.value == error;
}

// What the documentation excepts.
struct Exception {
  std::string_view scenario;
  std::string_view site;
  int error;
};
constexpr std::array kExceptions{
    // A datagram to a Unix socket that has no room fails, unless the sender is connected to it:
    // epoll does not report when it has room.
    Exception{"udp_unix", "sendmmsg", EAGAIN},
    // A Transport decides which errors are transient. That of the test takes these for fatal.
    Exception{"transport", "recv", ENOBUFS},
    Exception{"transport", "recv", ENOMEM},
    Exception{"transport", "send", ENOBUFS},
    Exception{"transport", "send", ENOMEM},
    // Only a TCP connection can be in progress.
    Exception{"unix", "connect", EINTR},
    Exception{"unix", "connect", EINPROGRESS},
    Exception{"hand_over", "connect", EINTR},
    Exception{"udp_connected", "connect", EINTR},
    Exception{"udp_connected", "connect", EINPROGRESS},
};

bool must_be_absorbed(const Cell& cell) {
  for (const Exception& one : kExceptions) {
    if (one.scenario == cell.scenario->name && one.site == cell.site->name &&
        is_error(*cell.fault, one.error)) {
      return false;
    }
  }
  if (!cell.scenario->retries && !is_error(*cell.fault, EINTR)) return false;
  switch (cell.fault->absorbed) {
    case Fault::Absorbed::never:
      return false;
    case Fault::Absorbed::once:
      return !cell.persistent;
    case Fault::Absorbed::always:
      return true;
  }
  return false;
}

// A failing call that is repeated at once is no spin if the error asks for that.
bool may_repeat_at_once(const Fault& fault) {
  if (fault.kind == Fault::Kind::error) return fault.value == EINTR;
  return fault.kind != Fault::Kind::late_error;
}

void judge_leftovers(const Stage& stage, bool ended, std::vector<std::string>& violations) {
  if (const std::string left = stage.table().open_descriptors(); !left.empty()) {
    violations.push_back("left open: " + left);
  }
  for (const int fd : stage.table().wrong_closes()) {
    violations.push_back("closed " + std::to_string(fd) + ", which was not open");
  }
  if (ended && stage.open_connections() > 0) {
    violations.push_back("on_close is missing for " + std::to_string(stage.open_connections()) +
                         " connections");
  }
}

void judge_result(const Cell& cell, const Stage& stage, std::vector<std::string>& violations) {
  if (!stage.is_complete() && stage.reports().empty() && !cell.fault->looks_like_end) {
    violations.emplace_back("neither succeeded nor reported an error");
  }
  for (const Stage::Report& report : stage.reports()) {
    const bool unasked = stage.hits() > 0 && must_be_absorbed(cell);
    if (stage.hits() > 0 && !unasked && may_follow(cell, report.error)) continue;
    violations.push_back("reported: " + report.where + " (" + report.error.name() + ")");
  }
  if (!stage.next_was_served() && !cell.fault->ends_listener) {
    violations.emplace_back("the next client was not served");
  }
  if (!may_repeat_at_once(*cell.fault) && stage.table().most_hits_at_once() > kMostFailuresAtOnce) {
    violations.push_back("spins: the call failed " +
                         std::to_string(stage.table().most_hits_at_once()) + " times at once");
  }
}

Outcome run_once(const Cell& cell) {
  Outcome outcome;
  Stage stage(cell.trigger);
  stage.inject(*cell.site, *cell.fault, cell.nth, cell.persistent);
  const bool ended = play(*cell.scenario, stage);
  stage.end_fault();
  outcome.reached = stage.hits() > 0;
  outcome.violations = stage.violations();
  judge_leftovers(stage, ended, outcome.violations);
  judge_result(cell, stage, outcome.violations);
  return outcome;
}

struct Resources {
  Resources()
      : descriptors(open_descriptors().size()),
        threads(test::threads().size()),
        heap(live_heap()) {}
  std::size_t descriptors;
  std::size_t threads;
  LiveHeap heap;
};

void add_cells(const Cell& pattern, std::uint64_t count, std::vector<Cell>& cells) {
  for (const Fault& fault : pattern.site->faults) {
    for (std::uint64_t nth = 1; nth <= count; ++nth) {
      for (const bool persistent : {false, true}) {
        Cell cell = pattern;
        cell.fault = &fault;
        cell.nth = nth;
        cell.persistent = persistent;
        cells.push_back(cell);
      }
    }
  }
}

}  // namespace

std::string Cell::id() const {
  return std::string(scenario->name) + (trigger == Trigger::edge ? "/et/" : "/lt/") + site->name +
         "/" + fault->name() + "/" + std::to_string(nth) + (persistent ? "/persistent" : "/once");
}

std::vector<Cell> cells_of(const Scenario& scenario, std::vector<std::string>& violations) {
  std::vector<Cell> cells;
  for (const Trigger trigger : kTriggers) {
    if (trigger == Trigger::edge && !scenario.has_connections) continue;
    Stage stage(trigger);
    stage.table().count_sites();
    const bool ended = play(scenario, stage);
    for (const Stage::Report& report : stage.reports()) {
      violations.push_back("reported: " + report.where + " (" + report.error.name() + ")");
    }
    const auto& found = stage.violations();
    violations.insert(violations.end(), found.begin(), found.end());
    if (!stage.is_complete()) violations.emplace_back("did not complete");
    judge_leftovers(stage, ended, violations);

    Stage counted(trigger);
    std::uint64_t allocations = 0;
    {
      const FailAllocation none(std::numeric_limits<std::uint64_t>::max());
      play(scenario, counted);
      allocations = none.passed();
    }
    for (Cell pattern{&scenario, trigger, nullptr, nullptr, 0, false}; const auto& site : sites()) {
      pattern.site = &site;
      add_cells(pattern,
                stage.table().site_counts()[static_cast<std::size_t>(&site - sites().data())],
                cells);
    }
    if (AllocationCount::available()) {
      add_cells({&scenario, trigger, &allocation_site(), nullptr, 0, false}, allocations, cells);
    }
  }
  return cells;
}

// What a first run leaves may be a cache that it has filled; a leak grows with each run.
Outcome run(const Cell& cell) {
  constexpr int kRuns = 3;
  Outcome outcome;
  for (int i = 0; i < kRuns; ++i) {
    const Resources before;
    outcome = run_once(cell);
    const Resources after;
    if (after.descriptors != before.descriptors) {
      outcome.violations.emplace_back("the number of open descriptors has changed");
    }
    if (after.threads != before.threads) {
      outcome.violations.emplace_back("the number of threads has changed");
    }
    // The outcome itself is alive.
    const auto own = static_cast<std::int64_t>(!outcome.violations.empty());
    if (own != 0 || after.heap.blocks == before.heap.blocks) return outcome;
    if (i + 1 == kRuns) {
      outcome.violations.push_back(
          "left on the heap: " + std::to_string(after.heap.blocks - before.heap.blocks) +
          " blocks, " + std::to_string(after.heap.bytes - before.heap.bytes) + " bytes");
    }
  }
  return outcome;
}

}  // namespace weir::test::matrix
