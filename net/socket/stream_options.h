// The options of IP stream sockets that servers and clients share. They only tune the socket: if
// one is refused, that is logged, and the socket works without it. Internal.
#pragma once

#include <string_view>

#include "weir/base/clock.h"
#include "weir/net/socket/socket.h"

namespace weir::internal {

struct StreamOptions {
  bool nodelay = true;
  bool keep_alive = false;  // with the times of KeepAlive{}
  Duration user_timeout{0};
  // 0: the kernel's default.
  int receive_buffer = 0;
  int send_buffer = 0;
  int notsent_lowat = 0;
};

// Options: ListenOptions, or the Options of TcpServer or TcpClient.
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

// SO_RCVBUF and SO_SNDBUF. Call it before connect(2) or listen(2), because they limit how large the
// window can become.
void set_buffers(Socket& socket, const StreamOptions& options, std::string_view doing);
// The other options. A client sets them after connect(2), which TCP_USER_TIMEOUT would also limit.
void set_behaviour(Socket& socket, const StreamOptions& options, std::string_view doing);

}  // namespace weir::internal
