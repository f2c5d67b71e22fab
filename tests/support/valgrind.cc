#include "support/valgrind.h"

#if __has_include(<valgrind/valgrind.h>)

#include <pthread.h>
#include <valgrind/valgrind.h>

namespace weir::test {

bool under_valgrind() { return RUNNING_ON_VALGRIND != 0; }

void ignore_leaks_of_children() {
  if (under_valgrind()) {
    ::pthread_atfork(nullptr, nullptr, [] { VALGRIND_CLO_CHANGE("--leak-check=no"); });
  }
}

}  // namespace weir::test

#else

namespace weir::test {

bool under_valgrind() { return false; }
void ignore_leaks_of_children() {}

}  // namespace weir::test

#endif
