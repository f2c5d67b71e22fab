// Transport: how the bytes of a connection get to its peer and back. Plain sockets are the one that
// adds nothing; others (TLS) stand in the same place. [loop]
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "weir/base/result.h"

namespace weir::internal {

class Transport {
 public:
  virtual ~Transport() = default;

  // As recv(2) and sendmsg(2): may move less than asked; EAGAIN when the socket must be waited for;
  // a read of 0 bytes is the peer's orderly end.
  virtual SysResult<std::size_t> read(int fd, std::span<std::byte> into) = 0;
  virtual SysResult<std::size_t> read_vectors(int fd, std::span<iovec> into) = 0;
  virtual SysResult<std::size_t> write(int fd, std::span<const std::byte> bytes) = 0;
  virtual SysResult<std::size_t> write_vectors(int fd, std::span<iovec> vectors) = 0;
  virtual SysResult<std::size_t> write_file(int fd, int file, std::uint64_t offset,
                                            std::uint64_t length) = 0;
  // Tells the peer that no more comes: FIN.
  virtual SysResult<void> finish_writing(int fd) = 0;
};

// The socket itself. Stateless: one object serves all connections.
Transport& raw_transport();

}  // namespace weir::internal
