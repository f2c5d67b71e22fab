#include "weir/net/route/internal/splice_pipe.h"

#include <cerrno>
#include <utility>

namespace weir::internal {

namespace {

// What a pipe has when it may not grow, and its size cannot be asked. Counting on too much does no
// harm: the kernel then says EAGAIN.
constexpr std::size_t kUnknownSize = 64 * 1024;

}  // namespace

SysResult<std::unique_ptr<SplicePipe>> SplicePipe::open() {
  auto ends = sys::pipe();
  if (!ends) return std::unexpected(ends.error());
  auto size = sys::set_pipe_size(ends->writing.get(), kSize);
  if (!size) size = sys::pipe_size(ends->writing.get());
  return std::unique_ptr<SplicePipe>(new SplicePipe(std::move(*ends), size.value_or(kUnknownSize)));
}

SysResult<std::size_t> SplicePipe::fill(int socket, std::size_t most) {
  const std::size_t bound = std::min(most, capacity_);
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
