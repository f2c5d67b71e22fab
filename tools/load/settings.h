// What one run of `weir-load echo` is to do.
#pragma once

#include <cstddef>
#include <string>

#include "weir/base/clock.h"
#include "weir/net/socket/socket_address.h"

namespace weir::load {

struct EchoSettings {
  SocketAddress target;
  std::size_t connections = 100;
  std::size_t size = 64;  // bytes a message
  std::size_t depth = 1;  // messages in flight on each connection
  Duration duration = std::chrono::seconds(10);
  std::size_t threads = 1;
  std::string json_path;  // empty: none
};

}  // namespace weir::load
