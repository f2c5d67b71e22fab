// SockDiag: asks the kernel for all its TCP and Unix sockets, sock_diag(7).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "sockstat/diag_messages.h"
#include "sockstat/model.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace weir::sockstat {

class SockDiag {
 public:
  static Result<SockDiag> open();

  // Each TCP socket over IPv4 and IPv6 in one of these states (a bit each).
  Result<void> each_tcp(std::uint32_t states, bool details,
                        const std::function<void(const TcpSocket&)>& fn);
  Result<void> each_unix(const std::function<void(const UnixSocket&)>& fn);

 private:
  explicit SockDiag(Fd fd) : fd_(std::move(fd)), buffer_(kDatagram) {}
  Result<void> ask(const std::vector<std::byte>& request,
                   const std::function<Result<void>(Bytes)>& message);

  // The kernel fills what it is given, up to 32 KiB.
  static constexpr std::size_t kDatagram = 64 * 1024;

  Fd fd_;
  std::vector<std::byte> buffer_;
  std::uint32_t sequence_ = 0;
};

}  // namespace weir::sockstat
