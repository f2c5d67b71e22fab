#include "weir/net/codec/framed_handler.h"

#include <fmt/format.h>

#include "weir/base/check_format.h"
#include "weir/base/log_line.h"

namespace weir::internal {

void check_frame(const Frame& frame, std::size_t available) {
  WEIR_CHECK(frame.consume >= 1 && frame.consume <= available,
             "FramedHandler: the codec made a frame of {} bytes out of {}", frame.consume,
             available);
}

bool go_on(TcpConnection& connection, const ConnectionHandler* told, Buffer& in,
           std::size_t consumed) {
  if (connection.state() != TcpConnection::State::open) {
    in.clear();
    return false;
  }
  in.consume(consumed);
  // Asked later, not called from here: handlers that hand over to each other at every frame would
  // go deeper with each.
  if (connection.handler() == told && (in.empty() || connection.reading())) return true;
  if (!in.empty()) connection.offer_again();
  return false;
}

void close_for_frame_error(TcpConnection& connection, const Error& error) {
  WEIR_LOG_LIMITED(warn, 1, "connection {} from {} is closed: {}", connection.id(),
                   connection.peer_address().to_string(), error.message());
  connection.close();
}

void log_refused_frame(const TcpConnection& connection, const Error& error) {
  WEIR_LOG_LIMITED(warn, 1, "a message to connection {} is not sent: {}", connection.id(),
                   error.message());
}

Error ended_inside_frame(std::size_t bytes) {
  return Error(fmt::format("the stream ended inside a frame; {} of its bytes had come", bytes));
}

}  // namespace weir::internal
