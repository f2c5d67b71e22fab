#include "weir/net/tcp/internal/spare_descriptor.h"

#include <fcntl.h>

#include <utility>

#include "weir/net/sys/sys.h"

namespace weir::internal {

std::shared_ptr<SpareDescriptor> SpareDescriptor::shared() {
  static Mutex mutex;
  static std::weak_ptr<SpareDescriptor> current WEIR_GUARDED_BY(mutex);
  const MutexLock lock(mutex);
  std::shared_ptr<SpareDescriptor> spare = current.lock();
  if (!spare) current = spare = std::make_shared<SpareDescriptor>();
  return spare;
}

SysResult<void> SpareDescriptor::restore() {
  if (held_.load(std::memory_order_relaxed)) [[likely]]
    return {};
  const MutexLock lock(mutex_);
  if (const Errno error = open()) return std::unexpected(error);
  return {};
}

Errno SpareDescriptor::open() {
  if (!fd_) {
    auto fd = sys::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!fd) return fd.error();
    fd_ = std::move(*fd);
    held_.store(true, std::memory_order_relaxed);
  }
  return {};
}

int SpareDescriptor::shed(int listener, int limit) {
  const MutexLock lock(mutex_);
  int count = 0;
  while (count < limit && !open()) {
    held_.store(false, std::memory_order_relaxed);
    fd_.reset();
    const auto victim = sys::accept(listener);  // closed before open()
    if (!victim) break;
    ++count;
  }
  static_cast<void>(open());
  return count;
}

}  // namespace weir::internal
