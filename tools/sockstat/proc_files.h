// Values from files below /proc, proc(5), that sock_diag does not have.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "sockstat/model.h"
#include "weir/base/result.h"

namespace weir::sockstat {

// Parses /proc/net/netstat: pairs of lines, names above numbers. Missing values are 0.
HostCounters read_netstat(std::string_view text);
Result<HostCounters> host_counters();

// net.core.somaxconn of the network namespace; nullopt if it cannot be read.
std::optional<int> read_somaxconn();

// Parses "socket:[4711]", the target of a link below /proc/PID/fd.
std::optional<std::uint32_t> socket_inode(std::string_view link);
// The inodes of the sockets that a process has open. An error if they cannot be read: there is no
// such process, it belongs to another user, or it is in another network namespace.
Result<std::unordered_set<std::uint32_t>> sockets_of(int pid);

}  // namespace weir::sockstat
