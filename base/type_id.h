// TypeId: the identity of a type at run time, for containers that store values of unknown type.
//
// TypeIds of one type are equal across shared libraries. (The address of a static template member
// would differ: each library built with -fvisibility=hidden has its own copy.)
#pragma once

#include "weir/base/requirements.h"

#include <typeinfo>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

class TypeId {
 public:
  // `const T` and `T` are different types.
  template <typename T>
  static TypeId of() noexcept {
    return TypeId(typeid(Tag<T>));
  }

  friend bool operator==(TypeId a, TypeId b) noexcept { return *a.info_ == *b.info_; }

 private:
  // Each library has its own type_info of this; type_info compares them by name.
  template <typename T>
  struct WEIR_HIDDEN Tag {};
  explicit TypeId(const std::type_info& info) noexcept : info_(&info) {}

  const std::type_info* info_;
};

}  // namespace weir
