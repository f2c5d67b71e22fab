// The one way in which a connection calls its handler. Internal to TcpConnection's sources. [loop]
#pragma once

#include <exception>

#include "weir/net/tcp/tcp_connection.h"

namespace weir {

// Gathers what the handler sends, and ends the connection if an exception leaves it.
template <typename Call>
void TcpConnection::call_handler(const char* event, Call&& call) {
  if (handler_ == nullptr) return;  // the server is gone
  cork();
  try {
    call();
  } catch (const std::exception& thrown) {
    handler_threw(event, thrown.what());
  } catch (...) {
    handler_threw(event, "not a std::exception");
  }
  uncork();
}

}  // namespace weir
