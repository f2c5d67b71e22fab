// What the scripts of sim_golden share, which run on the simulated and on the real kernel.
#pragma once

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <string>

#include "weir/net/socket/socket_address.h"
#include "weir/net/sys/sys.h"

namespace weir::test::simulation {

// The result of a call, or the name of its error.
inline std::string result_text(ssize_t result) {
  return result < 0 ? std::string(::strerrorname_np(errno)) : fmt::format("{}", result);
}

// An address for the listeners of this script alone, because the ports of one address would be in
// TIME_WAIT. TCP: with port 0.
inline SocketAddress address_of_script(bool is_unix, std::uint64_t number) {
  if (is_unix) {
    return SocketAddress::parse(fmt::format("unix:@weir-golden-{}-{}", ::getpid(), number)).value();
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(0x7f010000U + static_cast<std::uint32_t>(number % 0xfe0000));
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

inline SocketAddress own_address(internal::SysTable& table, int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  return table.getsockname(fd, name, &length) < 0 ? SocketAddress()
                                                  : SocketAddress::from_sockaddr(name, length);
}

// A socket that does not wait.
inline int open_stream(internal::SysTable& table, bool is_unix) {
  const int family = is_unix ? AF_UNIX : AF_INET;
  return table.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

inline int take_error(internal::SysTable& table, int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  table.getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

// True while a SYN or a FIN of this TCP socket waits for its acknowledgement.
inline bool is_under_way(internal::SysTable& table, int fd) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  if (table.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return false;
  return info.tcpi_state == TCP_SYN_SENT || info.tcpi_state == TCP_FIN_WAIT1 ||
         info.tcpi_state == TCP_CLOSING || info.tcpi_state == TCP_LAST_ACK;
}

// Waits until the real kernel has finished what the simulated one does at once. The real kernel may
// delay an acknowledgement, tcp(7). That of a FIN is an event; so it is asked
// for and waited for.
inline void settle(internal::SysTable& table, std::span<const int> sockets) {
  if (&table != &internal::sys::kernel_table()) return;
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
