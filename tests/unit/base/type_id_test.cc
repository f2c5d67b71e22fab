#include "weir/base/type_id.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::internal {
namespace {

struct Local {};

TEST(TypeId, IsEqualForTheSameTypeOnly) {
  EXPECT_EQ(TypeId::of<int>(), TypeId::of<int>());
  EXPECT_EQ(TypeId::of<Local>(), TypeId::of<Local>());
  EXPECT_NE(TypeId::of<int>(), TypeId::of<long>());
  EXPECT_NE(TypeId::of<Local>(), TypeId::of<std::string>());
}

TEST(TypeId, TellsConstAndReferencesApart) {
  EXPECT_NE(TypeId::of<int>(), TypeId::of<const int>());
  EXPECT_NE(TypeId::of<int>(), TypeId::of<int&>());
}

}  // namespace
}  // namespace weir::internal
