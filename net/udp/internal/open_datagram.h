// OpenDatagram: a datagram socket with its options, and the file of its Unix path. Internal to the
// udp floor.
#pragma once

#include <string>
#include <utility>

#include "weir/base/result.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_file.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::internal {

struct OpenDatagram {
  OpenDatagram() = default;
  OpenDatagram(OpenDatagram&&) noexcept = default;
  OpenDatagram& operator=(OpenDatagram&& other) noexcept {
    file = std::move(other.file);
    socket = std::move(other.socket);
    family = other.family;
    return *this;
  }

  Socket socket;
  int family = 0;   // AF_INET, AF_INET6, AF_UNIX; 0: none yet
  SocketFile file;  // created by bind(); removed before the socket is closed

  // `doing` is the beginning of an error text, such as "bind to 0.0.0.0:53".
  static Result<OpenDatagram> make(const SocketAddress& address, const UdpSocket::Options& options,
                                   const std::string& doing);
  Result<void> bind(const SocketAddress& address, unsigned mode, const std::string& doing);
  // Gives a Unix socket a name that the kernel chooses, so that peers can answer.
  SysResult<void> bind_to_any_name();
};

}  // namespace weir::internal
