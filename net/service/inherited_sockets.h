// Listening sockets that the service manager opened for this process: socket activation, as in
// sd_listen_fds(3). Call take_inherited_sockets() early in main(), before other threads are
// started, because it reads and unsets environment variables.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/socket/listening_socket.h"

namespace WEIR_EXPORT weir {

struct InheritedSocket {
  std::string name;  // FileDescriptorName= of its unit; "unknown" if it has none
  ListeningSocket socket;
};

// More than any service gets; a larger LISTEN_FDS is an error.
inline constexpr std::size_t kMaxInheritedSockets = 1024;

// Returns the sockets that LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES describe; none, if these
// variables are not set or are for another process. Makes each socket CLOEXEC and NONBLOCK, and
// unsets the variables in any case, so that no child uses them.
//
// The sockets are lent (ListeningSocket::set_lent()): they and the files of Unix paths belong to
// the service manager and remain usable for the next process.
//
// Errors: a descriptor is not a listening stream socket; then all of them are closed. Or the count
// is too large: a descriptor is not open, or is close-on-exec, which an inherited one never is;
// then none is closed.
Result<std::vector<InheritedSocket>> take_inherited_sockets();

}  // namespace weir
