// Making a datagram socket as its options want it, and the file of a Unix path. Internal to the udp
// floor.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "weir/base/result.h"
#include "weir/net/socket/socket.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::internal {

struct OpenDatagram {
  Socket socket;
  int family = 0;  // AF_INET, AF_INET6, AF_UNIX; 0: none yet
  // The file that bind() made; empty: none. Removed by forget_file() if it is still that one.
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;
  std::uint32_t process = 0;  // that made it, by generation

  // `doing`: what an error begins with, such as "bind to 0.0.0.0:53".
  static Result<OpenDatagram> make(const SocketAddress& address, const UdpSocket::Options& options,
                                   const std::string& doing);
  Result<void> bind(const SocketAddress& address, unsigned mode, const std::string& doing);
  // A Unix socket that nobody can answer gets a name of the kernel's choice.
  SysResult<void> bind_to_any_name();
  void forget_file();
};

}  // namespace weir::internal
