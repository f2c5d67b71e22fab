// settle: waits until the real kernel has finished what the simulated one does at once.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>

#include <chrono>
#include <span>

#include "weir/net/sys/sys.h"

namespace weir::test::simulation {

// True while a SYN or a FIN of this TCP socket waits for its acknowledgement.
inline bool is_under_way(internal::SysTable& table, int fd) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  if (table.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return false;
  return info.tcpi_state == TCP_SYN_SENT || info.tcpi_state == TCP_FIN_WAIT1 ||
         info.tcpi_state == TCP_CLOSING || info.tcpi_state == TCP_LAST_ACK;
}

// The real kernel may delay an acknowledgement, tcp(7). That of a FIN is an event; so it is asked
// for and waited for.
inline void settle(internal::SysTable& table, std::span<const int> sockets) {
  constexpr auto kLongest = std::chrono::milliseconds(200);
  const auto end = std::chrono::steady_clock::now() + kLongest;
  const int on = 1;
  for (const int fd : sockets) {
    if (fd >= 0) table.setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
  }
  for (const int fd : sockets) {
    while (fd >= 0 && is_under_way(table, fd) && std::chrono::steady_clock::now() < end) {
      ::sched_yield();
    }
  }
}

}  // namespace weir::test::simulation
