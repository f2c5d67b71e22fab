#include "fuzz/memory_datagrams.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "weir/base/check_format.h"

namespace weir::fuzz {

namespace {

int failed(int error) {
  errno = error;
  return -1;
}

int give_address(const SocketAddress& from, sockaddr* address, socklen_t* length) {
  std::memcpy(address, from.data(), std::min(*length, from.size()));
  *length = from.size();
  return 0;
}

// Appends a control message, as the kernel does.
template <typename T>
void put_control(msghdr& header, std::size_t& used, int level, int type, const T& value) {
  const std::size_t space = CMSG_SPACE(sizeof(value));
  WEIR_CHECK(used + space <= header.msg_controllen, "no room for control data");
  auto* const at = static_cast<std::byte*>(header.msg_control) + used;
  const cmsghdr head{.cmsg_len = CMSG_LEN(sizeof(value)), .cmsg_level = level, .cmsg_type = type};
  std::memcpy(at, &head, sizeof(head));
  std::memcpy(at + CMSG_LEN(0), &value, sizeof(value));
  used += space;
}

}  // namespace

void MemoryDatagrams::reset(bool ipv6) {
  local_ = ipv6 ? SocketAddress::loopback_ipv6(7000) : SocketAddress::loopback_ipv4(7000);
  peer_ = {};
  incoming.clear();
  room = kNoLimit;
  receive_error = send_error = error = 0;
  fd_ = -1;
}

void MemoryDatagrams::changed(bool happened) {
  std::uint32_t events = 0;
  if (!incoming.empty() || receive_error != 0) events |= EPOLLIN;
  if (room > 0) events |= EPOLLOUT;
  if (error != 0) events |= EPOLLERR;
  signal(fd_, events, happened);
}

int MemoryDatagrams::socket(int, int, int) {
  fd_ = open_descriptor();
  changed();
  return fd_;
}

int MemoryDatagrams::bind(int, const sockaddr*, socklen_t) { return 0; }

int MemoryDatagrams::connect(int, const sockaddr* address, socklen_t length) {
  peer_ = SocketAddress::from_sockaddr(address, length);
  return 0;
}

int MemoryDatagrams::getsockopt(int, int level, int name, void* value, socklen_t* length) {
  if (level != SOL_SOCKET || name != SO_ERROR) return failed(ENOPROTOOPT);
  const int answer = std::exchange(error, 0);
  changed(false);
  std::memcpy(value, &answer, sizeof(answer));
  *length = sizeof(answer);
  return 0;
}

int MemoryDatagrams::setsockopt(int, int, int, const void*, socklen_t) { return 0; }

int MemoryDatagrams::getsockname(int, sockaddr* address, socklen_t* length) {
  return give_address(local_, address, length);
}

int MemoryDatagrams::getpeername(int, sockaddr* address, socklen_t* length) {
  if (peer_.size() == 0) return failed(ENOTCONN);
  return give_address(peer_, address, length);
}

ssize_t MemoryDatagrams::recvmsg(int, msghdr*, int) { return failed(EAGAIN); }  // MSG_ERRQUEUE

void MemoryDatagrams::receive(msghdr& header, unsigned& size, const Message& message) const {
  const iovec& into = *header.msg_iov;
  size = static_cast<unsigned>(std::min(into.iov_len, message.payload.size()));
  std::memcpy(into.iov_base, message.payload.data(), size);
  give_address(message.peer, static_cast<sockaddr*>(header.msg_name), &header.msg_namelen);
  header.msg_flags = message.truncated ? MSG_TRUNC : 0;
  std::size_t used = 0;
  if (message.packet_info && local_.family() == SocketAddress::Family::ipv6) {
    in6_pktinfo info{};
    info.ipi6_addr = in6addr_loopback;
    info.ipi6_ifindex = 1;
    put_control(header, used, IPPROTO_IPV6, IPV6_PKTINFO, info);
  } else if (message.packet_info) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_addr, local_.ip_bytes().data(), sizeof(info.ipi_addr));
    info.ipi_ifindex = 1;
    put_control(header, used, IPPROTO_IP, IP_PKTINFO, info);
  }
  if (message.segment > 0) {
    put_control(header, used, IPPROTO_UDP, UDP_GRO, static_cast<int>(message.segment));
  }
  header.msg_controllen = used;
}

int MemoryDatagrams::recvmmsg(int, mmsghdr* messages, unsigned count, int) {
  if (receive_error != 0) {
    const int code = std::exchange(receive_error, 0);
    changed(false);
    return failed(code);
  }
  if (incoming.empty()) return failed(EAGAIN);
  int got = 0;
  for (mmsghdr& message : std::span(messages, count)) {
    if (incoming.empty()) break;
    receive(message.msg_hdr, message.msg_len, incoming.front());
    incoming.pop_front();
    ++got;
  }
  changed(false);
  return got;
}

void MemoryDatagrams::deliver(const msghdr& header) {
  std::string bytes;
  for (const iovec& part : std::span(header.msg_iov, header.msg_iovlen)) {
    bytes.append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
  const auto to = SocketAddress::from_sockaddr(static_cast<const sockaddr*>(header.msg_name),
                                               header.msg_namelen);
  std::size_t segment = 0;
  auto* place = const_cast<msghdr*>(&header);  // NOLINT: CMSG_NXTHDR only reads
  for (cmsghdr* c = CMSG_FIRSTHDR(place); c != nullptr; c = CMSG_NXTHDR(place, c)) {
    if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_SEGMENT) continue;
    std::uint16_t value = 0;
    std::memcpy(&value, CMSG_DATA(c), sizeof(value));
    segment = value;
  }
  if (segment == 0) return sent(to, bytes);
  WEIR_CHECK(bytes.size() > segment && bytes.size() <= 65507 && bytes.size() <= 64 * segment,
             "{} bytes in segments of {}", bytes.size(), segment);
  for (std::size_t at = 0; at < bytes.size(); at += segment) {
    sent(to, std::string_view(bytes).substr(at, segment));
  }
}

int MemoryDatagrams::sendmmsg(int, mmsghdr* messages, unsigned count, int) {
  if (send_error != 0) return failed(std::exchange(send_error, 0));
  WEIR_CHECK(count > 0, "sendmmsg of nothing");
  if (room == 0) return failed(EAGAIN);
  int taken = 0;
  for (const mmsghdr& message : std::span(messages, count)) {
    if (room == 0) break;
    if (room != kNoLimit) --room;
    deliver(message.msg_hdr);
    ++taken;
  }
  if (room == 0) changed(false);
  return taken;
}

}  // namespace weir::fuzz
