// What the kernel says through sock_diag(7), taken apart: bytes in, values out, no system call.
// Whatever the bytes are, nothing is read beyond their end; what is too short is an error, and
// attributes that are not known are passed over.
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

// One datagram of the answer to request `sequence`: calls `message` with the payload of each
// SOCK_DIAG_BY_FAMILY message. True when the answer is complete. An errno that the kernel sent is
// the Error's code.
Result<bool> read_datagram(Bytes datagram, std::uint32_t sequence,
                           const std::function<Result<void>(Bytes)>& message);

// A payload: struct inet_diag_msg, or unix_diag_msg, and the attributes behind it.
Result<TcpSocket> read_tcp(Bytes payload);
Result<UnixSocket> read_unix(Bytes payload);

// Which TCP sockets are asked for, and what of them.
struct TcpQuery {
  std::uint32_t states = 0;                      // a bit for each State
  std::optional<std::uint16_t> local_port = {};  // null: any
  bool details = false;
  bool drops = false;
};

// Requests for a dump, as they are sent.
std::vector<std::byte> tcp_request(bool v6, const TcpQuery& query, std::uint32_t sequence);
std::vector<std::byte> unix_request(std::uint32_t sequence);

}  // namespace weir::sockstat
