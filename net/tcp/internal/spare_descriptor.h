// SpareDescriptor: a reserved descriptor. When the process has no other left, a listener frees it
// to accept and close waiting clients, so that they see an end and do not hang. All listeners of
// the process share one, because with several a loop could take the place that another has just
// freed. Internal to the tcp floor. [any]
#pragma once

#include <atomic>
#include <memory>

#include "weir/base/fd.h"
#include "weir/base/mutex.h"
#include "weir/base/result.h"

namespace weir::internal {

class SpareDescriptor {
 public:
  // The instance of the process; destroyed with the last pointer to it.
  static std::shared_ptr<SpareDescriptor> shared();

  // Opens the descriptor if it is not open. EMFILE, ENFILE: there is none, so the caller must not
  // keep the descriptor that it has just opened.
  SysResult<void> restore();

  // Accepts and closes up to `limit` connections that wait at `listener`, in the place of the
  // reserved descriptor. Returns their number.
  int shed(int listener, int limit);

 private:
  Errno open() WEIR_REQUIRES(mutex_);

  Mutex mutex_;
  Fd fd_ WEIR_GUARDED_BY(mutex_);
  std::atomic<bool> held_{false};  // fd_ is open; false while shed() uses its place
};

}  // namespace weir::internal
