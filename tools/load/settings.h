// What one run of weir-load is to do.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "load/source_network.h"
#include "weir/base/clock.h"
#include "weir/net/socket/socket_address.h"

namespace weir::load {

enum class Mode : std::uint8_t { echo, bulk, churn, idle, broadcast, chat, udp };

// Who ends a connection of `churn`.
enum class Closing : std::uint8_t {
  client,  // closes when the answer is there
  half,    // half-closes after the request; the server answers, then closes
  server,  // closes by itself after the answer
  reset,   // the client resets when the answer is there
};

struct Settings {
  Mode mode = Mode::echo;
  std::string_view mode_name;
  SocketAddress target;
  std::size_t connections = 100;  // of broadcast and chat: receivers
  std::size_t size = 64;          // bytes per message
  std::size_t depth = 1;          // messages in flight on each connection; closed loop only
  double rate = 0;                // messages a second of all connections together; 0: closed loop
  Duration duration = std::chrono::seconds(10);
  std::uint64_t messages = 0;  // ends the run in place of the duration; 0: does not
  Duration warmup{0};
  std::size_t threads = 1;
  bool verify = false;
  Duration timeout = std::chrono::seconds(1);  // udp: after which a datagram is lost
  bool segments = false;                       // udp: UDP_SEGMENT and UDP_GRO
  Closing closes = Closing::client;
  std::optional<SourceNetwork> source;
  pid_t pid = 0;  // of the server; 0: not watched
  bool histogram = false;
  std::string chat_prefix;  // of the sender's lines: "load4711: "
  std::string json_path;    // empty: none
  std::string hdr_path;     // empty: none

  bool open_loop() const { return rate > 0; }
  bool one_to_many() const { return mode == Mode::broadcast || mode == Mode::chat; }
  // Sockets: the sender of a broadcast is one more.
  std::size_t sockets() const { return connections + (one_to_many() ? 1 : 0); }
};

}  // namespace weir::load
