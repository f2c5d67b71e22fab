// What a UdpSocket tells its owner, and the words it uses. [loop]
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
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

// An address as the kernel wrote it, where it wrote it: 16 bytes to pass on, nothing copied. Valid
// as long as what it was taken from.
class AddressView {
 public:
  AddressView() = default;
  AddressView(const sockaddr* data, socklen_t size) : data_(data), size_(size) {}
  // Of a SocketAddress that outlives it.
  AddressView(const SocketAddress& address) : data_(address.data()), size_(address.size()) {}

  const sockaddr* data() const { return data_; }
  socklen_t size() const { return size_; }
  // Nobody: a Unix socket without a name, which cannot be answered.
  bool empty() const { return size_ <= sizeof(sa_family_t); }
  std::uint16_t port() const;  // 0 for Unix addresses
  SocketAddress copy() const { return SocketAddress::from_sockaddr(data_, size_); }
  // The same bytes, so the same address, if both came from the kernel.
  friend bool operator==(const AddressView& a, const AddressView& b);

 private:
  const sockaddr* data_ = nullptr;
  socklen_t size_ = 0;
};

// One datagram that was received. Everything in it lies in a block of the loop's and is valid until
// the handler returns. An empty payload is a datagram like any other.
struct Datagram {
  std::span<const std::byte> payload;
  AddressView peer;
  bool truncated = false;  // it was longer than UdpSocket::kMaxDatagram; the rest is lost

  std::string_view text() const {
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }
  // With Options::packet_info: the address of ours that it was sent to (with port 0), which can be
  // a multicast or broadcast address, and the number of the interface that it came by (0: unknown).
  SocketAddress local_address() const;
  unsigned interface_index() const;

  // What the kernel said about its destination: an in_pktinfo or in6_pktinfo; null: nothing.
  const void* packet_info = nullptr;
};

// A copy of Datagram::packet_info to keep: the address of ours that somebody has sent to.
class PacketInfo {
 public:
  PacketInfo() = default;  // not known
  explicit PacketInfo(const Datagram& in);

  bool known() const { return size_ > 0; }
  const void* data() const { return known() ? bytes_.data() : nullptr; }

 private:
  alignas(std::uint32_t) std::array<std::byte, 20> bytes_{};  // in_pktinfo or in6_pktinfo
  std::uint32_t size_ = 0;
};

}  // namespace weir

namespace weir::internal {
// The address of ours alone, IPv4 in the first four bytes; zero: not known.
using LocalIp = std::array<std::byte, 16>;
LocalIp local_ip_of(const Datagram& in);
}  // namespace weir::internal

namespace WEIR_EXPORT weir {

// What became of a send.
enum class DatagramResult : std::uint8_t {
  queued,    // accepted: sent, or waiting in order for its turn; it may be lost on the way, as ever
  dropped,   // left out: max_queued, with QueueFull::drop_newest
  refused,   // left out: max_queued, with QueueFull::refuse; on_drained follows
  too_long,  // no datagram can be so long, or more than max_queued would have to wait
  closed,    // the socket is not open, or has no peer to send to
};

// What happens when the socket takes nothing for now and a send() would put more than max_queued in
// wait. With the first two the network just seems to lose more.
enum class QueueFull : std::uint8_t { drop_newest, drop_oldest, refuse };

// A datagram that the kernel would not send; those behind it went on their way.
struct FailedDatagram {
  std::uint64_t number = 0;  // the how-manieth that send() accepted, from 0
  SocketAddress to;          // unspecified: the connected peer
  std::size_t size = 0;
  Errno error;  // EMSGSIZE, ENETUNREACH, EPERM, ...
};

// The events of a socket. All are called on its loop's thread, never from inside a call of the
// user's, never two at once. The socket may be closed or destroyed from inside, and nothing more is
// called then. An exception that leaves one is logged, and the socket goes on.
class DatagramHandler {
 public:
  virtual ~DatagramHandler() = default;

  // Datagrams have come: as many as one system call brought, UdpSocket::kMaxBatch at most. What is
  // sent in answer leaves, all at once, when this returns.
  virtual void on_datagrams(UdpSocket&, std::span<const Datagram>) {}
  // A datagram was accepted by send() and then refused by the kernel.
  virtual void on_send_failed(UdpSocket&, const FailedDatagram&) {}
  // After a send() that said `refused`: at most half of max_queued is waiting again.
  virtual void on_drained(UdpSocket&) {}
  // Something that concerns no single datagram: mostly ECONNREFUSED, on a connected socket whose
  // peer's machine says that nobody listens there. The socket goes on. But after ESHUTDOWN, when
  // shutdown(2) was called on it behind weir's back, nothing is received any more, and if epoll
  // will not have it (ENOMEM, ENOSPC), it is closed.
  virtual void on_error(UdpSocket&, Errno) {}

  // For handlers that keep references to sockets: this one is closed, or about to be destroyed. No
  // event: it comes from inside close() and the destructor.
  virtual void forget(UdpSocket&) {}
};

}  // namespace weir
