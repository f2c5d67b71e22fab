// The system calls of weir, and the faults that each of them can have.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "support/fault_table.h"

namespace weir::test::matrix {

struct Fault {
  enum class Kind : std::uint8_t {
    error,       // the call is not made, and fails
    late_error,  // the call is made, and fails nevertheless; the state is that of the error
    limit,       // at most `value` bytes or messages are moved
    leave,       // `value` bytes less are moved
    result,      // the call is not made and returns `value`
    option,      // getsockopt gives `value`
    wall_clock,  // CLOCK_REALTIME moves by `value` hours before the call
    no_memory,   // operator new throws
  };
  // When a scenario must complete without an error that anybody is told of.
  enum class Absorbed : std::uint8_t { never, once, always };

  Kind kind;
  int value = 0;
  Absorbed absorbed = Absorbed::never;
  // A persistent fault ends after this number of calls, and after Stage::kPersistence.
  std::uint64_t most = kMost;
  // The listener may stop for good: its descriptor is not one that can accept.
  bool ends_listener = false;
  // Looks like an end of the stream in order, so that missing bytes cannot be noticed.
  bool looks_like_end = false;

  static constexpr std::uint64_t kMost = 200;
  // "EMFILE", "1_at_most".
  std::string name() const;
};

// Calls that have the same faults: all calls of a function, or those with one operation or option.
struct Site {
  const char* name;
  Call call;
  std::optional<int> argument;
  std::vector<Fault> faults;
  // Errors that weir reports in place of the fault's own.
  std::vector<int> consequences{};
};

// All sites but that of operator new.
std::span<const Site> sites();
// operator new, which fails with std::bad_alloc.
const Site& allocation_site();

}  // namespace weir::test::matrix
