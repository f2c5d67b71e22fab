#include "weir/net/route/internal/splice_pipe.h"

#include <cerrno>
#include <utility>

namespace weir::internal {

namespace {

// The assumed capacity if it can be neither set nor read. Too large a value is harmless: the kernel
// then returns EAGAIN.
constexpr std::size_t kUnknownSize = 64 * 1024;

}  // namespace

SysResult<std::unique_ptr<SplicePipe>> SplicePipe::open() {
  auto ends = sys::pipe();
  if (!ends) return std::unexpected(ends.error());
  auto size = sys::set_pipe_size(ends->writing.get(), kSize);
  if (!size) size = sys::pipe_size(ends->writing.get());
  return std::unique_ptr<SplicePipe>(new SplicePipe(std::move(*ends), size.value_or(kUnknownSize)));
}

SysResult<std::size_t> SplicePipe::fill(int socket, std::size_t limit) {
  const std::size_t bound = std::min(limit, capacity_);
  if (held_ >= bound) return std::unexpected(Errno(EAGAIN));
  auto moved = sys::splice_from_socket(socket, ends_.writing.get(), bound - held_);
  if (moved) held_ += *moved;
  return moved;
}

SysResult<std::size_t> SplicePipe::drain(int socket) {
  auto moved = sys::splice_to_socket(ends_.reading.get(), socket, held_);
  if (moved) held_ -= std::min(held_, *moved);
  return moved;
}

}  // namespace weir::internal
