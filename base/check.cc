#include "weir/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace weir::internal {

// Straight to stderr: a logger may be asynchronous, and there is no later.
void check_failed(const char* file, int line, const char* condition, std::string_view message) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace weir::internal
