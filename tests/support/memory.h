// The resident memory of the process. [any]
#pragma once

#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace weir::test {

// Sanitizers keep freed memory, and a shadow of all memory: with them the RSS is mostly theirs.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Resident memory in bytes.
inline std::int64_t resident_memory() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace weir::test
