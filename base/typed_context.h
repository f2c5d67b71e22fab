// TypedContext: stores one value of any type. The class that contains it need not know the type;
// the caller of set() and get() names it. [one thread]
#pragma once

#include <memory>
#include <utility>

#include "weir/base/type_id.h"

namespace weir::internal {

class TypedContext {
 public:
  // Makes a T from `args`; it replaces the value before. If its constructor throws, the value
  // before stays.
  template <typename T, typename... Args>
  T& set(Args&&... args) {
    auto holder = std::make_unique<Holder<T>>(std::forward<Args>(args)...);
    T& value = holder->value;
    holder_ = std::move(holder);
    return value;
  }
  // Null when there is no value or when it has another type.
  template <typename T>
  T* get() const {
    if (!holder_ || holder_->type != TypeId::of<T>()) return nullptr;
    return &static_cast<Holder<T>*>(holder_.get())->value;
  }
  void reset() { holder_.reset(); }

 private:
  struct Base {
    explicit Base(TypeId of) : type(of) {}
    virtual ~Base() = default;
    const TypeId type;
  };
  template <typename T>
  struct Holder final : Base {
    template <typename... Args>
    explicit Holder(Args&&... args) : Base(TypeId::of<T>()), value(std::forward<Args>(args)...) {}
    T value;
  };

  std::unique_ptr<Base> holder_;
};

// Gives a class one value of its user's.
class WithContext {
 public:
  // In place of the value before, if there was one. Destroyed with this object, after on_close.
  template <typename T, typename... Args>
  T& set_context(Args&&... args) {
    return context_.set<T>(std::forward<Args>(args)...);
  }
  // nullptr when none, or one of another type, was set.
  template <typename T>
  T* context() const {
    return context_.get<T>();
  }

 protected:
  WithContext() = default;
  ~WithContext() = default;

  TypedContext context_;
};

}  // namespace weir::internal
