// CallAll: makes several calls, all of them even if some throw. The first exception is kept and
// rethrown at the end.
//
//   weir::CallAll all;
//   for (auto& listener : listeners) all([&] { listener(); });
//   all.rethrow_first();
#pragma once

#include "weir/base/requirements.h"

#include <exception>
#include <utility>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

class CallAll {
 public:
  // False: `fn` threw.
  template <typename Fn>
  bool operator()(Fn&& fn) noexcept {
    try {
      std::forward<Fn>(fn)();
      return true;
    } catch (...) {
      if (!first_) first_ = std::current_exception();
      return false;
    }
  }
  // Throws the first exception, once. Does nothing if no call threw.
  void rethrow_first() {
    if (first_) std::rethrow_exception(std::exchange(first_, nullptr));
  }

 private:
  std::exception_ptr first_;
};

}  // namespace weir
