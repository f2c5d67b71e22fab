// SockDiag: gets all TCP and Unix sockets from the kernel, sock_diag(7).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "sockstat/diag_messages.h"
#include "sockstat/model.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace weir::sockstat {

// A source of sockets: the kernel, or a test in its place.
class SocketSource {
 public:
  virtual ~SocketSource() = default;
  // Calls fn for each selected TCP socket over IPv4 and IPv6.
  virtual Result<void> each_tcp(const TcpQuery& query,
                                const std::function<void(const TcpSocket&)>& fn) = 0;
  // Calls fn for each Unix socket. ENOENT: the kernel does not report them.
  virtual Result<void> each_unix(const std::function<void(const UnixSocket&)>& fn) = 0;
};

class SockDiag final : public SocketSource {
 public:
  static Result<SockDiag> open();

  Result<void> each_tcp(const TcpQuery& query,
                        const std::function<void(const TcpSocket&)>& fn) override;
  Result<void> each_unix(const std::function<void(const UnixSocket&)>& fn) override;

 private:
  explicit SockDiag(Fd fd) : fd_(std::move(fd)), buffer_(kDatagram) {}
  Result<void> ask(const std::vector<std::byte>& request,
                   const std::function<Result<void>(Bytes)>& message);

  // The kernel sends up to 32 KiB in one datagram.
  static constexpr std::size_t kDatagram = 64 * 1024;

  Fd fd_;
  std::vector<std::byte> buffer_;
  std::uint32_t sequence_ = 0;
};

}  // namespace weir::sockstat
