#include "weir/net/reactor/internal/waker.h"

#include <cerrno>
#include <cstdint>
#include <span>

#include "weir/base/log_line.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

Result<Waker> Waker::create() {
  auto fd = sys::eventfd();
  if (!fd) return std::unexpected(Error("create an event loop: eventfd", fd.error()));
  return Waker(std::move(*fd));
}

void Waker::wake() const {
  const std::uint64_t one = 1;
  auto written = sys::write(fd_.get(), std::as_bytes(std::span(&one, 1)));
  if (!written && !(written.error() == EAGAIN)) {
    WEIR_LOG_LIMITED(error, 1, "wake a loop: eventfd {}: {}", fd_.get(), written.error().message());
  }
}

void Waker::drain() const {
  std::uint64_t count = 0;
  static_cast<void>(sys::read(fd_.get(), std::as_writable_bytes(std::span(&count, 1))));
}

}  // namespace weir::internal
