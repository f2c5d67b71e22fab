#include "weir/base/check_format.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(Check, PassesAndEvaluatesItsConditionOnce) {
  int evaluated = 0;
  WEIR_CHECK(++evaluated == 1, "never printed");
  EXPECT_EQ(evaluated, 1);
}

TEST(Check, DoesNotEvaluateTheMessageWhenItHolds) {
  int evaluated = 0;
  WEIR_CHECK(true, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

TEST(CheckDeathTest, SaysPlaceConditionAndMessage) {
  const int answer = 41;
  EXPECT_DEATH(WEIR_CHECK(answer == 42, "the answer is {}", answer),
               "check_test\\.cc:[0-9]+: check failed: answer == 42: the answer is 41");
}

// Not inlined, and no tail call: a frame of its own.
[[gnu::noinline]] int a_function_of_the_users(int answer) {
  WEIR_CHECK(answer == 42, "the answer is {}", answer);
  return answer + 1;
}

TEST(CheckDeathTest, ShowsWhoseCallLedThere) {
  EXPECT_DEATH(static_cast<void>(a_function_of_the_users(41)),
               "check failed: answer == 42: the answer is 41\n"
               "  called from .*unit_base.*0x[0-9a-f]+.*\n"
               "(.*\n)*.*addr2line -Cfipe FILE");
}

TEST(CheckDeathTest, DcheckIsForDebugBuildsOnly) {
  int evaluated = 0;
  WEIR_DCHECK(++evaluated == 1, "never printed");
#ifdef NDEBUG
  EXPECT_EQ(evaluated, 0);
#else
  EXPECT_EQ(evaluated, 1);
  EXPECT_DEATH(WEIR_DCHECK(evaluated == 2, "broken"), "check failed: evaluated == 2: broken");
#endif
}

}  // namespace
}  // namespace weir
