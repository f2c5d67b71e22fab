// SpareDescriptor: one descriptor kept for the moment when there is no other, so that clients who
// wait to be accepted can be told so. One for all listeners of the process, because a loop would
// take the place that another has just freed. Internal to the tcp floor. [any]
#pragma once

#include <atomic>
#include <memory>

#include "weir/base/fd.h"
#include "weir/base/mutex.h"
#include "weir/base/result.h"

namespace weir::internal {

class SpareDescriptor {
 public:
  // The one of the process; it goes with the last who holds it.
  static std::shared_ptr<SpareDescriptor> shared();

  // Makes sure that it is there. EMFILE, ENFILE: it is not, and nothing else may be opened.
  SysResult<void> restore();

  // Accepts and closes up to `most` of those who wait at `listener`, through the spare's place.
  // Returns how many.
  int shed(int listener, int most);

 private:
  Errno open() WEIR_REQUIRES(mutex_);

  Mutex mutex_;
  Fd fd_ WEIR_GUARDED_BY(mutex_);
  std::atomic<bool> held_{false};  // fd_ is open; false also while it is in use
};

}  // namespace weir::internal
