#include "sockstat/sock_diag.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <utility>

namespace weir::sockstat {

namespace {

// The kernel answers immediately; a longer wait means that there is no answer.
constexpr timeval kPatience{.tv_sec = 10, .tv_usec = 0};

std::unexpected<Error> failed(const char* step) {
  return std::unexpected(Error(std::string("sock_diag: ") + step, Errno::last()));
}

}  // namespace

Result<SockDiag> SockDiag::open() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd.valid()) return failed("socket");
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience)) != 0) {
    return failed("SO_RCVTIMEO");
  }
  return SockDiag(std::move(fd));
}

Result<void> SockDiag::ask(const std::vector<std::byte>& request,
                           const std::function<Result<void>(Bytes)>& message) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(fd_.get(), request.data(), request.size(), 0,
               reinterpret_cast<const sockaddr*>(&kernel), sizeof(kernel)) < 0) {
    return failed("send");
  }
  for (;;) {
    sockaddr_nl from{};
    socklen_t from_size = sizeof(from);
    const ssize_t size = ::recvfrom(fd_.get(), buffer_.data(), buffer_.size(), MSG_TRUNC,
                                    reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return failed("receive");
    if (from.nl_pid != 0) continue;  // not from the kernel: any process can send to this socket
    if (static_cast<std::size_t>(size) > buffer_.size()) {
      return std::unexpected(Error("sock_diag: a message is larger than the buffer"));
    }
    const auto done =
        read_datagram(Bytes(buffer_).first(static_cast<std::size_t>(size)), sequence_, message);
    if (!done) return std::unexpected(done.error());
    if (*done) return {};
  }
}

Result<void> SockDiag::each_tcp(const TcpQuery& query,
                                const std::function<void(const TcpSocket&)>& fn) {
  const auto take = [&](Bytes payload) -> Result<void> {
    const auto socket = read_tcp(payload);
    if (!socket) return std::unexpected(socket.error());
    fn(*socket);
    return {};
  };
  for (const bool v6 : {false, true}) {
    auto done = ask(tcp_request(v6, query, ++sequence_), take);
    if (!done && v6 && done.error().code() == ENOENT) return {};  // a kernel without IPv6
    if (!done) return done;
  }
  return {};
}

Result<void> SockDiag::each_unix(const std::function<void(const UnixSocket&)>& fn) {
  return ask(unix_request(++sequence_), [&](Bytes payload) -> Result<void> {
    const auto socket = read_unix(payload);
    if (!socket) return std::unexpected(socket.error());
    if (socket->stream) fn(*socket);
    return {};
  });
}

}  // namespace weir::sockstat
