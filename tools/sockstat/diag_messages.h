// Parses the messages of sock_diag(7) into values; no system calls. Never reads beyond the end of
// the bytes: a message that is too short is an error. Unknown attributes are ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sockstat/model.h"
#include "weir/base/result.h"

namespace weir::sockstat {

using Bytes = std::span<const std::byte>;

// Reads one datagram of the answer to request `sequence`: calls `message` with the payload of each
// SOCK_DIAG_BY_FAMILY message. True when the answer is complete. If the kernel sent an errno, it is
// the code of the Error.
Result<bool> read_datagram(Bytes datagram, std::uint32_t sequence,
                           const std::function<Result<void>(Bytes)>& message);

// Parse a payload: struct inet_diag_msg or unix_diag_msg, and the attributes behind it.
Result<TcpSocket> read_tcp(Bytes payload);
Result<UnixSocket> read_unix(Bytes payload);

// Selects TCP sockets, and the optional values for each.
struct TcpQuery {
  std::uint32_t states = 0;                      // a bit for each State
  std::optional<std::uint16_t> local_port = {};  // nullopt: any
  bool details = false;
  bool drops = false;
};

// The bytes of a request for all sockets.
std::vector<std::byte> tcp_request(bool v6, const TcpQuery& query, std::uint32_t sequence);
std::vector<std::byte> unix_request(std::uint32_t sequence);

}  // namespace weir::sockstat
