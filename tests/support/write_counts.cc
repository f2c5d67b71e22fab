// Linked into every test program of the preset `coverage`. gcov writes its counts at exit(); this
// makes processes that end by _exit() or abort(), the children of many tests, write theirs, too.
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

extern "C" void __gcov_dump();

namespace {

void write_counts(int /*signal*/) { __gcov_dump(); }

// abort() ends the process when the handler has returned.
[[maybe_unused]] const auto previous = std::signal(SIGABRT, write_counts);

}  // namespace

// Is linked instead of the one of libc.
extern "C" [[noreturn]] void _exit(int status) {
  __gcov_dump();
  for (;;) ::syscall(SYS_exit_group, status);
}
