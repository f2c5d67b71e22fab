#include "weir/net/stream/connection_handler.h"

#include <array>

namespace weir {

std::string_view to_string(CloseReason::Kind kind) {
  static constexpr std::array<std::string_view, CloseReason::kKinds> kNames = {
      "peer_eof",           "reset",
      "local_close",        "aborted",
      "idle_timeout",       "read_idle_timeout",
      "first_byte_timeout", "message_timeout",
      "write_stall",        "drain_timeout",
      "output_overflow",    "input_overflow",
      "handler_threw",      "server_stopped",
      "io_error",           "handshake_timeout",
      "transport_failed"};
  const auto index = static_cast<std::size_t>(kind);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::string CloseReason::to_string() const {
  std::string text(weir::to_string(kind));
  if (error) text.append(" (").append(error.name()).append(")");
  return text;
}

}  // namespace weir
