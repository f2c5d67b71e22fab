// The memory that this process may use. Internal to weir. [any]
#pragma once

#include <cstdint>
#include <string>

namespace weir::internal {

// The machine's memory or, if that is less, the smallest limit of the process's memory cgroups (v1
// and v2, its own and those above it). 0: unknown. `root`: the directory of /proc and /sys, for
// tests.
std::uint64_t memory_limit(const std::string& root = "");

}  // namespace weir::internal
