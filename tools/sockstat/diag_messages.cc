#include "sockstat/diag_messages.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace weir::sockstat {

namespace {

// Netlink pads everything to four bytes, netlink(7).
constexpr std::size_t padded(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

std::unexpected<Error> malformed(const char* what) {
  return std::unexpected(Error(std::string("sock_diag: the kernel sent ") + what));
}

// The beginning of `bytes` as a T; missing bytes are zero.
template <typename T>
T head_of(Bytes bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(T)));
  return value;
}

// True if `bytes` contains the whole member at `offset`.
template <typename Member>
bool reaches(Bytes bytes, std::size_t offset, const Member&) {
  return bytes.size() >= offset + sizeof(Member);
}

// Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
constexpr unsigned kTypeMask = 0x3fff;

// Calls fn(type, value) for each attribute, until one is truncated.
template <typename Fn>
void each_attribute(Bytes rest, Fn fn) {
  while (rest.size() >= sizeof(rtattr)) {
    const auto head = head_of<rtattr>(rest);
    if (head.rta_len < sizeof(rtattr) || head.rta_len > rest.size()) return;
    fn(head.rta_type & kTypeMask, rest.subspan(sizeof(rtattr), head.rta_len - sizeof(rtattr)));
    rest = rest.subspan(std::min(padded(head.rta_len), rest.size()));
  }
}

Endpoint endpoint(unsigned family, const __be32 (&address)[4], __be16 port, std::uint32_t device) {
  Endpoint end{.v6 = family == AF_INET6, .port = ntohs(port), .interface = device};
  std::memcpy(end.bytes.data(), address, end.v6 ? 16 : 4);
  return end;
}

Timer timer_of(unsigned number) {
  switch (number) {  // inet_diag.c: icsk_pending, sk_timer, TIME_WAIT, probes of a closed window
    case 1:
      return Timer::retransmit;
    case 2:
      return Timer::keep_alive;
    case 3:
      return Timer::time_wait;
    case 4:
      return Timer::probe;
    default:
      return Timer::none;
  }
}

TcpDetails details_of(Bytes bytes) {
  const auto info = head_of<tcp_info>(bytes);
  TcpDetails details{.rtt_us = info.tcpi_rtt,
                     .retransmits = info.tcpi_total_retrans,
                     .bytes_sent = {},
                     .bytes_received = info.tcpi_bytes_received,
                     .idle = std::chrono::milliseconds(
                         std::min(info.tcpi_last_data_sent, info.tcpi_last_data_recv))};
  if (reaches(bytes, offsetof(tcp_info, tcpi_bytes_sent), info.tcpi_bytes_sent)) {
    details.bytes_sent = info.tcpi_bytes_sent;
  }
  return details;
}

template <typename Request>
std::vector<std::byte> dump_request(const Request& request, std::uint32_t sequence) {
  static_assert(sizeof(Request) == padded(sizeof(Request)));
  const nlmsghdr head{.nlmsg_len = sizeof(nlmsghdr) + sizeof(Request),
                      .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                      .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                      .nlmsg_seq = sequence,
                      .nlmsg_pid = 0};
  std::vector<std::byte> bytes(head.nlmsg_len);
  std::memcpy(bytes.data(), &head, sizeof(head));
  std::memcpy(bytes.data() + sizeof(head), &request, sizeof(request));
  return bytes;
}

// The error of an answer without sockets: a negative errno, or 0.
std::unexpected<Error> refused(int code) {
  return std::unexpected(Error("sock_diag", Errno(code < 0 && code > -4096 ? -code : EPROTO)));
}

}  // namespace

Result<bool> read_datagram(Bytes datagram, std::uint32_t sequence,
                           const std::function<Result<void>(Bytes)>& message) {
  while (!datagram.empty()) {
    if (datagram.size() < sizeof(nlmsghdr)) return malformed("half a header");
    const auto head = head_of<nlmsghdr>(datagram);
    if (head.nlmsg_len < sizeof(nlmsghdr) || head.nlmsg_len > datagram.size()) {
      return malformed("a message of impossible length");
    }
    const Bytes payload = datagram.subspan(sizeof(nlmsghdr), head.nlmsg_len - sizeof(nlmsghdr));
    datagram = datagram.subspan(std::min(padded(head.nlmsg_len), datagram.size()));
    if (head.nlmsg_seq != sequence) continue;  // the answer to an earlier request
    switch (head.nlmsg_type) {
      case NLMSG_DONE:
        if (const int code = head_of<int>(payload); code < 0) return refused(code);
        return true;
      case NLMSG_ERROR:
        if (payload.size() < sizeof(int)) return malformed("an error without a number");
        if (const int code = head_of<int>(payload); code != 0) return refused(code);
        break;
      case NLMSG_OVERRUN:
        return malformed("more than it could");
      case SOCK_DIAG_BY_FAMILY:
        if (auto taken = message(payload); !taken) return std::unexpected(taken.error());
        break;
      default:
        break;  // NLMSG_NOOP and unknown types
    }
  }
  return false;
}

Result<TcpSocket> read_tcp(Bytes payload) {
  if (payload.size() < sizeof(inet_diag_msg)) return malformed("half a TCP socket");
  const auto head = head_of<inet_diag_msg>(payload);
  if (head.idiag_family != AF_INET && head.idiag_family != AF_INET6) {
    return malformed("a TCP socket of no known family");
  }
  const auto state = state_of(head.idiag_state);
  if (!state) return malformed("a TCP socket of no known state");
  TcpSocket socket;
  socket.state = *state;
  socket.timer = timer_of(head.idiag_timer);
  if (*state != State::time_wait) socket.retransmits_now = head.idiag_retrans;
  socket.local =
      endpoint(head.idiag_family, head.id.idiag_src, head.id.idiag_sport, head.id.idiag_if);
  socket.peer =
      endpoint(head.idiag_family, head.id.idiag_dst, head.id.idiag_dport, head.id.idiag_if);
  socket.timer_ms = head.idiag_expires;
  socket.receive_queue = head.idiag_rqueue;
  socket.send_queue = head.idiag_wqueue;
  socket.inode = head.idiag_inode;
  if (socket.inode != 0) socket.uid = head.idiag_uid;  // else usually 0, which would mean root
  each_attribute(payload.subspan(sizeof(inet_diag_msg)), [&](unsigned type, Bytes value) {
    // For a socket that has never sent anything, these are the times since boot.
    const bool sent =
        *state != State::listen && *state != State::syn_sent && *state != State::closed;
    if (type == INET_DIAG_INFO && sent &&
        reaches(value, offsetof(tcp_info, tcpi_bytes_received), std::uint64_t{})) {
      socket.details = details_of(value);
    } else if (type == INET_DIAG_SKV6ONLY && !value.empty()) {
      socket.v6_only = value[0] != std::byte{0};
    } else if (type == INET_DIAG_SKMEMINFO) {
      const auto drops_at = SK_MEMINFO_DROPS * sizeof(std::uint32_t);
      if (value.size() >= drops_at + sizeof(std::uint32_t)) {
        socket.drops = head_of<std::uint32_t>(value.subspan(drops_at));
      }
    }
  });
  return socket;
}

Result<UnixSocket> read_unix(Bytes payload) {
  if (payload.size() < sizeof(unix_diag_msg)) return malformed("half a Unix socket");
  const auto head = head_of<unix_diag_msg>(payload);
  if (head.udiag_family != AF_UNIX) return malformed("no Unix socket");
  UnixSocket socket;
  socket.stream = head.udiag_type == SOCK_STREAM;
  socket.inode = head.udiag_ino;
  // The kernel uses the numbers of the TCP states.
  if (head.udiag_state == static_cast<unsigned>(State::listen)) {
    socket.state = UnixSocket::State::listening;
  } else if (head.udiag_state == static_cast<unsigned>(State::established)) {
    socket.state = UnixSocket::State::connected;
  }
  each_attribute(payload.subspan(sizeof(unix_diag_msg)), [&](unsigned type, Bytes value) {
    if (type == UNIX_DIAG_NAME) {
      socket.name.assign(reinterpret_cast<const char*>(value.data()), value.size());
      // A path may come with the NUL at its end.
      if (socket.name.size() > 1 && socket.name.front() != '\0') {
        socket.name.resize(std::min(socket.name.find('\0'), socket.name.size()));
      }
    } else if (type == UNIX_DIAG_PEER && value.size() >= sizeof(std::uint32_t)) {
      socket.peer_inode = head_of<std::uint32_t>(value);
    } else if (type == UNIX_DIAG_UID && value.size() >= sizeof(std::uint32_t)) {
      socket.uid = head_of<std::uint32_t>(value);
    } else if (type == UNIX_DIAG_RQLEN && value.size() >= sizeof(unix_diag_rqlen)) {
      const auto lengths = head_of<unix_diag_rqlen>(value);
      socket.receive_queue = lengths.udiag_rqueue;
      socket.send_queue = lengths.udiag_wqueue;
    }
  });
  return socket;
}

std::vector<std::byte> tcp_request(bool v6, const TcpQuery& query, std::uint32_t sequence) {
  inet_diag_req_v2 request{};
  request.sdiag_family = v6 ? AF_INET6 : AF_INET;
  request.sdiag_protocol = IPPROTO_TCP;
  if (query.details) request.idiag_ext |= 1 << (INET_DIAG_INFO - 1);
  if (query.drops) request.idiag_ext |= 1 << (INET_DIAG_SKMEMINFO - 1);
  request.idiag_states = query.states;
  if (query.local_port) request.id.idiag_sport = htons(*query.local_port);
  return dump_request(request, sequence);
}

std::vector<std::byte> unix_request(std::uint32_t sequence) {
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0U;
  request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID;
  return dump_request(request, sequence);
}

}  // namespace weir::sockstat
