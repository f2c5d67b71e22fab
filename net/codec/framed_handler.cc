#include "weir/net/codec/framed_handler.h"

#include <fmt/format.h>

#include "weir/base/check_format.h"
#include "weir/base/log_line.h"

namespace weir {

void FramedHandlerBase::on_frame_error(TcpConnection& connection, const Error& error) {
  WEIR_LOG_LIMITED(warn, 1, "connection {} from {} is closed: {}", connection.id(),
                   connection.peer_address().to_string(), error.message());
  connection.close();
}

void FramedHandlerBase::on_half_close(TcpConnection& connection) {
  const std::size_t left = connection.pending_input();
  if (left == 0) return;
  on_frame_error(connection, Error(fmt::format(
                                 "the stream ended inside a frame, after {} of its bytes", left)));
}

bool FramedHandlerBase::consume_frame(TcpConnection& connection, const ConnectionHandler* receiver,
                                      Buffer& in, std::size_t size) {
  if (connection.state() != TcpConnection::State::open) {
    in.clear();
    return false;
  }
  in.consume(size);
  // The next handler is called later, not here: two handlers that set each other at every frame
  // would recurse without limit.
  if (connection.handler() == receiver && (in.empty() || connection.reading())) return true;
  if (!in.empty()) connection.redeliver_input();
  return false;
}

void FramedHandlerBase::check_frame(const Frame& frame, std::size_t available) {
  WEIR_CHECK(frame.consume >= 1 && frame.consume <= available,
             "FramedHandler: the codec returned a frame of {} bytes from {} bytes", frame.consume,
             available);
}

void FramedHandlerBase::log_refused_frame(const TcpConnection& connection, const Error& error) {
  WEIR_LOG_LIMITED(warn, 1, "a message to connection {} was not sent: {}", connection.id(),
                   error.message());
}

}  // namespace weir
