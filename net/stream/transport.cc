#include "weir/net/stream/transport.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "weir/base/aligned_bytes.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

// Read and sent at once where sendfile(2) does not serve. On the stack.
constexpr std::size_t kFilePiece = 64 * 1024;

// Answers of a file system that has no sendfile(2), or not for this file, and of a kernel or a
// filter without the call. Nothing was sent then.
bool sendfile_unsupported(Errno error) {
  return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
}

SysResult<std::size_t> read_and_send(int fd, int file, std::uint64_t offset, std::uint64_t length) {
  alignas(kCacheLine) std::array<std::byte, kFilePiece> piece;
  const auto got = sys::pread(
      file, std::span(piece).first(std::min<std::uint64_t>(length, piece.size())), offset);
  if (!got || *got == 0) return got;
  return sys::send(fd, std::span(piece).first(*got));
}

class RawTransport final : public Transport {
 public:
  SysResult<std::size_t> read(int fd, std::span<std::byte> into) override {
    return sys::recv(fd, into);
  }
  SysResult<std::size_t> read_vectors(int fd, std::span<iovec> into) override {
    return sys::recv_vectors(fd, into);
  }
  SysResult<std::size_t> write(int fd, std::span<const std::byte> bytes) override {
    return sys::send(fd, bytes);
  }
  SysResult<std::size_t> write_vectors(int fd, std::span<iovec> vectors) override {
    return sys::send_vectors(fd, vectors);
  }
  SysResult<std::size_t> write_file(int fd, int file, std::uint64_t offset,
                                    std::uint64_t length) override {
    auto sent = sys::sendfile(fd, file, offset, length);
    if (!sent && sendfile_unsupported(sent.error())) {
      return read_and_send(fd, file, offset, length);
    }
    return sent;
  }
  SysResult<void> finish_writing(int fd) override { return sys::shutdown(fd, SHUT_WR); }
};

}  // namespace

Transport& raw_transport() {
  static constinit RawTransport transport;
  return transport;
}

}  // namespace weir::internal
