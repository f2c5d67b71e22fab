// The options of stream sockets over IP, which a server and a client set in the same way: each only
// tunes, so that without it the socket works, and the log says so. Internal.
#pragma once

#include <string_view>

#include "weir/base/clock.h"
#include "weir/net/socket/socket.h"

namespace weir::internal {

struct StreamOptions {
  bool nodelay = true;
  bool keep_alive = false;  // by KeepAlive's defaults
  Duration user_timeout{0};
  // 0: the kernel's.
  int receive_buffer = 0;
  int send_buffer = 0;
  int notsent_lowat = 0;
};

// Options: ListenOptions, TcpServer's or TcpClient's.
template <typename Options>
StreamOptions stream_options_of(const Options& options) {
  return {.nodelay = options.nodelay,
          .keep_alive = options.keep_alive,
          .user_timeout = options.user_timeout,
          .receive_buffer = options.receive_buffer,
          .send_buffer = options.send_buffer,
          .notsent_lowat = options.notsent_lowat};
}

// Logs that an option, such as "SO_RCVBUF", was refused. `doing`: "listen on 127.0.0.1:80".
void warn_if_refused(std::string_view doing, std::string_view option, const SysResult<void>& done);

// Before connect(2) or listen(2): these two decide how large the window can become.
void set_buffers(Socket& socket, const StreamOptions& options, std::string_view doing);
// The others. (TCP_USER_TIMEOUT would bound connect(2) as well, so a client sets them after it.)
void set_behaviour(Socket& socket, const StreamOptions& options, std::string_view doing);

}  // namespace weir::internal
