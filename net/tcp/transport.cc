#include "weir/net/tcp/transport.h"

#include <sys/socket.h>

#include "weir/net/socket/sys.h"

namespace weir::internal {

namespace {

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
    return sys::sendfile(fd, file, offset, length);
  }
  SysResult<void> finish_writing(int fd) override { return sys::shutdown(fd, SHUT_WR); }
};

}  // namespace

Transport& raw_transport() {
  static constinit RawTransport transport;
  return transport;
}

}  // namespace weir::internal
