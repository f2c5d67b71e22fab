// What sock_diag does not say and files below /proc do, proc(5).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "sockstat/model.h"
#include "weir/base/result.h"

namespace weir::sockstat {

// The text of /proc/net/netstat: pairs of lines, names above numbers. What is not there is 0.
HostCounters read_netstat(std::string_view text);
Result<HostCounters> host_counters();

// net.core.somaxconn of the network namespace; null if it is not to be read.
std::optional<int> read_somaxconn();

// "socket:[4711]", as a link below /proc/PID/fd says.
std::optional<std::uint32_t> socket_inode(std::string_view link);
// The sockets that a process has open. An error says why they are not to be seen: there is no such
// process, it is not ours, its network namespace is another.
Result<std::unordered_set<std::uint32_t>> sockets_of(int pid);

}  // namespace weir::sockstat
