// write_now(): a write(2) that never waits for room. Internal to weir. [any]
#pragma once

#include <cstddef>
#include <string_view>

namespace weir::internal {

// For a descriptor that other processes share, such as standard error: its O_NONBLOCK is left
// alone, since that would be theirs, too. Returns how many bytes were taken; errno says why not
// all. Up to PIPE_BUF (4096) bytes are taken by a pipe as a whole or not at all. Raises no SIGPIPE.
// A regular file is written to as usual: it waits for the disk at most.
std::size_t write_now(int fd, std::string_view bytes) noexcept;

}  // namespace weir::internal
