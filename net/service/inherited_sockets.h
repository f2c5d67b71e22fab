// Listening sockets that whoever started this process has opened for it: socket activation, as in
// sd_listen_fds(3). Call it early in main(), before other threads are started: it reads and unsets
// environment variables.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/socket/listening_socket.h"

namespace WEIR_EXPORT weir {

struct InheritedSocket {
  std::string name;  // FileDescriptorName= of its unit; "unknown" when there is none
  ListeningSocket socket;
};

// More than any service is given; what else the variable says is an error.
inline constexpr std::size_t kMaxInheritedSockets = 1024;

// Those that LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES name: none, when the variables are not set
// or mean another process. Each is made CLOEXEC and NONBLOCK; the variables are unset in any case,
// so that no child takes them for its own. The sockets are lent: they and the files of Unix paths
// belong to who made them, and stay fit for the next process (ListeningSocket::lent). If one of
// them is no listening stream socket, that is an error, and all of them are closed. If the count is
// too large, so that a descriptor is not open or is close-on-exec, which an inherited one never is,
// that is an error as well, and none is closed.
Result<std::vector<InheritedSocket>> take_inherited_sockets();

}  // namespace weir
