// The events of a UdpSocket, and the types that they use. [loop]
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

class UdpSocket;

}  // namespace weir

namespace weir::internal {
class UdpSocketImpl;
}

namespace WEIR_EXPORT weir {

// A view of a socket address, without a copy: for a received datagram, of the bytes that the kernel
// wrote. Valid as long as the bytes that it refers to.
class AddressView {
 public:
  AddressView() = default;
  AddressView(const sockaddr* data, socklen_t size) : data_(data), size_(size) {}
  // `address` must outlive the view.
  AddressView(const SocketAddress& address) : data_(address.data()), size_(address.size()) {}

  const sockaddr* data() const { return data_; }
  socklen_t size() const { return size_; }
  // No address: the peer is a Unix socket without a name, and cannot be answered.
  bool empty() const { return size_ <= sizeof(sa_family_t); }
  std::uint16_t port() const;  // 0 for Unix addresses
  SocketAddress copy() const { return SocketAddress::from_sockaddr(data_, size_); }
  // Compares the bytes. Two views of one address from the kernel are equal.
  friend bool operator==(const AddressView& a, const AddressView& b) {
    if (a.size_ != b.size_) return false;
    return a.data_ == b.data_ || std::memcmp(a.data_, b.data_, a.size_) == 0;
  }

 private:
  const sockaddr* data_ = nullptr;
  socklen_t size_ = 0;
};

// A received datagram. Payload, peer and packet_info refer to memory of the loop and are valid
// until the handler returns. The payload may be empty.
struct Datagram {
  std::span<const std::byte> payload;
  AddressView peer;
  bool truncated = false;  // longer than UdpSocket::kMaxDatagram; the rest is lost

  std::string_view text() const {
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }
  // With UdpSocket::Options::packet_info: the local address to which it was sent (with port 0),
  // which can be a multicast or broadcast address, and the number of the interface on which it
  // arrived. Otherwise an unspecified address, and 0.
  SocketAddress local_address() const;
  unsigned interface_index() const;

  // The destination, as an in_pktinfo or in6_pktinfo of the kernel; null without
  // UdpSocket::Options::packet_info.
  const void* packet_info = nullptr;
};

// A copy of Datagram::packet_info that can be stored: the local address to which a datagram was
// sent.
class PacketInfo {
 public:
  PacketInfo() = default;  // unknown
  explicit PacketInfo(const Datagram& in);

  bool known() const { return size_ > 0; }
  const void* data() const { return known() ? bytes_.data() : nullptr; }

 private:
  alignas(std::uint32_t) std::array<std::byte, 20> bytes_{};  // in_pktinfo or in6_pktinfo
  std::uint32_t size_ = 0;
};

}  // namespace weir

namespace weir::internal {
// The local address to which a datagram was sent, IPv4 in the first four bytes; zero: unknown.
using LocalIp = std::array<std::byte, 16>;
LocalIp local_ip_of(const Datagram& in);
}  // namespace weir::internal

namespace WEIR_EXPORT weir {

// The result of a send.
enum class DatagramResult : std::uint8_t {
  queued,    // accepted: sent or queued in order; like every datagram it can be lost on the way
  dropped,   // not accepted: max_queued, with QueueFull::drop_newest
  refused,   // not accepted: max_queued, with QueueFull::refuse; on_drained is called later
  too_long,  // longer than a datagram can be, or than max_queued
  closed,    // the socket is not open, or has no peer to send to
};

// The treatment of a send() that would exceed max_queued while the socket takes nothing. With
// drop_newest and drop_oldest it looks as if the network had lost a datagram.
enum class QueueFull : std::uint8_t { drop_newest, drop_oldest, refuse };

// A datagram that the kernel refused to send. Datagrams behind it were sent.
struct FailedDatagram {
  std::uint64_t number = 0;  // sequence number of accepted sends, starting at 0
  SocketAddress to;          // unspecified: the connected peer
  std::size_t size = 0;
  Errno error;  // EMSGSIZE, ENETUNREACH, EPERM, ...
};

// The events of a socket. All are called on the thread of its loop, never from inside a call to the
// socket, and never two at the same time. The socket may be closed or destroyed inside an event; no
// further event is called then. An exception from an event is logged, and the socket stays open.
class DatagramHandler {
 public:
  virtual ~DatagramHandler() = default;

  // The datagrams of one recvmmsg(2), at most UdpSocket::kMaxBatch per call. Datagrams that this
  // call sends leave together when it returns.
  virtual void on_datagrams(UdpSocket&, std::span<const Datagram>) {}
  // send() accepted a datagram, and later the kernel refused it.
  virtual void on_send_failed(UdpSocket&, const FailedDatagram&) {}
  // Called after a send() returned `refused`, when at most half of max_queued is still queued.
  virtual void on_drained(UdpSocket&) {}
  // An error that belongs to no single datagram. Most often ECONNREFUSED on a connected socket: no
  // socket receives at the peer's address. The socket stays open, with two exceptions. After
  // ESHUTDOWN (somebody called shutdown(2) on the descriptor) nothing is received any more. If
  // epoll refuses the socket (ENOMEM, ENOSPC), it is closed.
  virtual void on_error(UdpSocket&, Errno) {}

  // Not an event: called from inside UdpSocket::close() and the destructor of an open socket, for
  // handlers that store references to sockets.
  virtual void forget(UdpSocket&) {}
};

}  // namespace weir
