// The settings of one run of weir-load.
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

// The way in which a connection of `churn` ends.
enum class Closing : std::uint8_t {
  client,  // the client closes after the answer
  half,    // the client half-closes after the request; the server answers, then closes
  server,  // the server closes after the answer
  reset,   // the client resets the connection after the answer
};

struct Settings {
  Mode mode = Mode::echo;
  std::string_view mode_name;
  SocketAddress target;
  std::size_t connections = 100;  // broadcast and chat: receivers
  std::size_t size = 64;          // bytes per message
  std::size_t depth = 1;          // messages in flight on each connection; closed loop only
  double rate = 0;                // messages a second of all connections together; 0: closed loop
  Duration duration = std::chrono::seconds(10);
  std::uint64_t messages = 0;  // ends the run instead of the duration; 0: the duration does
  Duration warmup{0};
  std::size_t threads = 1;
  bool verify = false;
  Duration timeout = std::chrono::seconds(1);  // udp: a later datagram counts as lost
  bool segments = false;                       // udp: UDP_SEGMENT and UDP_GRO
  Closing closes = Closing::client;
  std::optional<SourceNetwork> source;
  pid_t pid = 0;  // of the server; 0: not watched
  bool histogram = false;
  std::string chat_prefix;  // of the lines of the sender: "load4711: "
  std::string json_path;    // empty: none
  std::string hdr_path;     // empty: none

  bool open_loop() const { return rate > 0; }
  bool one_to_many() const { return mode == Mode::broadcast || mode == Mode::chat; }
  // The number of sockets: the receivers of a broadcast and its sender.
  std::size_t sockets() const { return connections + (one_to_many() ? 1 : 0); }
};

}  // namespace weir::load
