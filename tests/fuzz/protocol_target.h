// What the targets of the samples' protocols share: a server with clients in memory, and the rules
// for all that it sends.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "fuzz/target.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::fuzz {

inline constexpr std::size_t kClients = 3;

using Answers = std::array<std::string, kClients>;
using MakeHandler = std::function<std::shared_ptr<ConnectionHandler>(TcpServer&)>;

// Serves clients that send what the script says, then half-close, and returns what each of them
// got. Checks the heap, and that each line is printable text. Either many lines arrive at once, or
// each line arrives alone: then it must not matter whether it comes whole or in pieces.
Answers check_protocol(const MakeHandler& make, Script& script);

}  // namespace weir::fuzz
