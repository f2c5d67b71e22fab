// main() of every test program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "support/leak_check.h"
#include "support/valgrind.h"
#include "weir/base/log.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  // Death tests run beside threads; "fast" would fork with their locks held.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // ThreadSanitizer starts a thread of its own beside a program's first; let it be there before a
  // test looks at which threads it began with.
  std::thread([] {}).join();
  // The first line that is logged makes the logger, and a line about a slow machine may come while
  // a test counts what it leaves on the heap.
  static_cast<void>(weir::logger());
  // The last listener sees the end of a test first, so its failures are printed with the test.
  ::testing::UnitTest::GetInstance()->listeners().Append(new weir::test::LeakCheck);
  weir::test::ignore_leaks_of_children();
  return RUN_ALL_TESTS();
}
