// Task: a function that a loop runs. TimerId: identifies a timer.
#pragma once

#include "weir/base/requirements.h"

#include <cstdint>
#include <functional>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

using Task = std::move_only_function<void()>;

// Identifies one timer of one loop. A default-constructed TimerId identifies none.
struct TimerId {
  std::uint32_t slot = 0;
  std::uint32_t sequence = 0;  // 0: no timer
  explicit operator bool() const { return sequence != 0; }
  friend bool operator==(TimerId, TimerId) = default;
};

}  // namespace weir
