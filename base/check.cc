#include "weir/base/check.h"

#include <execinfo.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

#include "weir/base/write_now.h"

namespace weir::internal {

namespace {

constexpr int kStderr = 2;
constexpr int kFrames = 24;

// The place that a check prints is usually inside weir; the frames above it show the caller.
std::string callers() {
  std::array<void*, kFrames> frames{};
  const int count = ::backtrace(frames.data(), kFrames);
  const std::unique_ptr<char*, void (*)(void*)> names(::backtrace_symbols(frames.data(), count),
                                                      std::free);
  std::string text;
  for (int i = 2; names && i < count; ++i) {  // after this function and check_failed()
    text += fmt::format("  called from {}\n", names.get()[i]);
  }
  if (!text.empty()) text += "  (FILE(+OFFSET): addr2line -Cfipe FILE +OFFSET)\n";
  return text;
}

}  // namespace

// Writes directly to stderr: a logger may be asynchronous, and the process ends here. The first
// line is written before anything else can fail.
void check_failed(const char* file, int line, const char* condition, std::string_view message) {
  write_now(kStderr, fmt::format("{}:{}: check failed: {}: {}\n", file, line, condition, message));
  write_now(kStderr, callers());
  std::abort();
}

}  // namespace weir::internal
