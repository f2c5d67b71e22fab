#include "weir/net/socket/stream_options.h"

#include <chrono>

#include "weir/base/log_line.h"

namespace weir::internal {

void warn_if_refused(std::string_view doing, std::string_view option, const SysResult<void>& done) {
  if (done) return;
  WEIR_LOG_LIMITED(warn, 10, "{}: {}: {}; continuing without it", doing, option,
                   done.error().message());
}

void set_buffers(Socket& socket, const StreamOptions& options, std::string_view doing) {
  if (options.receive_buffer > 0) {
    warn_if_refused(doing, "SO_RCVBUF", socket.set_receive_buffer(options.receive_buffer));
  }
  if (options.send_buffer > 0) {
    warn_if_refused(doing, "SO_SNDBUF", socket.set_send_buffer(options.send_buffer));
  }
}

void set_behaviour(Socket& socket, const StreamOptions& options, std::string_view doing) {
  warn_if_refused(doing, "TCP_NODELAY", socket.set_nodelay(options.nodelay));
  if (options.keep_alive) {
    warn_if_refused(doing, "SO_KEEPALIVE", socket.set_keep_alive(KeepAlive{}));
  }
  if (options.user_timeout > Duration::zero()) {
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(options.user_timeout);
    warn_if_refused(doing, "TCP_USER_TIMEOUT", socket.set_user_timeout(time));
  }
  if (options.notsent_lowat > 0) {
    warn_if_refused(doing, "TCP_NOTSENT_LOWAT", socket.set_notsent_lowat(options.notsent_lowat));
  }
}

}  // namespace weir::internal
