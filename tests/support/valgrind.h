// For tests under Valgrind (`tools/verify memcheck`), which runs the program on a processor of its
// own and answers some system calls itself. [any]
#pragma once

namespace weir::test {

// Valgrind keeps RLIMIT_NOFILE itself, has no epoll_pwait2(2), so that each wait is two calls, and
// needs more memory than the program. Tests of these are skipped.
bool under_valgrind();

// A child that a test forks ends in the middle of the test, and loses what is on its stack then:
// its leaks are not looked for.
void ignore_leaks_of_children();

}  // namespace weir::test
