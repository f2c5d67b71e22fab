// write_now(): a write(2) that never waits for free space. Internal to weir. [any]
#pragma once

#include <cstddef>
#include <string_view>

namespace weir::internal {

// For a descriptor that other processes share, such as standard error: O_NONBLOCK is not changed,
// because that would change it for the other processes, too. Returns the number of bytes written;
// if it is too small, errno has the reason. A pipe takes up to PIPE_BUF (4096) bytes as a whole or
// not at all. Raises no SIGPIPE. A regular file is written as usual, which can wait for the disk.
std::size_t write_now(int fd, std::string_view bytes) noexcept;

}  // namespace weir::internal
