#include "weir/base/call_all.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace weir::test {
namespace {

TEST(CallAll, MakesAllCallsAndThrowsTheFirstExceptionOnce) {
  CallAll all;
  std::string made;
  EXPECT_TRUE(all([&] { made += 'a'; }));
  EXPECT_FALSE(all([] { throw std::runtime_error("first"); }));
  EXPECT_FALSE(all([] { throw 2; }));
  EXPECT_TRUE(all([&] { made += 'b'; }));
  EXPECT_EQ(made, "ab");
  try {
    all.rethrow_first();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& thrown) {
    EXPECT_STREQ(thrown.what(), "first");
  }
  EXPECT_NO_THROW(all.rethrow_first());
}

}  // namespace
}  // namespace weir::test
