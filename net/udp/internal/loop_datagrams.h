// LoopDatagrams: the memory that all datagram sockets of one loop share: the block that they
// receive into, and the tables for recvmmsg(2) and sendmmsg(2). One per loop:
// loop.local<LoopDatagrams>(). Internal to the udp floor. [loop]
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "weir/base/aligned_bytes.h"
#include "weir/base/result.h"
#include "weir/net/udp/datagram.h"
#include "weir/net/udp/internal/datagram_queue.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::internal {

class UdpSocketImpl;

// Space for any socket address, and for all control data that weir requests or sends. Each has
// cache lines of its own.
struct alignas(kCacheLine) AddressRoom {
  std::array<std::byte, sizeof(sockaddr_storage)> bytes;
};
struct alignas(kCacheLine) ControlRoom {
  std::array<std::byte, 128> bytes;
};
// Space for an in_pktinfo or in6_pktinfo.
struct alignas(8) InfoRoom {
  std::array<std::byte, 24> bytes;
};

class LoopDatagrams {
 public:
  static constexpr std::size_t kBatch = UdpSocket::kMaxBatch;
  // The most datagrams in one sendmmsg(2).
  static constexpr std::size_t kOutgoing = 128;
  // Space for the copied bytes of one sendmmsg(2).
  static constexpr std::size_t kGather = 64 * 1024;
  // The limits of one message with UDP_SEGMENT: segments, and bytes in total, less the headers.
  static constexpr std::size_t kMaxSegments = 64;
  static constexpr std::size_t kMaxSegmented = 65000;

  LoopDatagrams();
  ~LoopDatagrams();
  LoopDatagrams(const LoopDatagrams&) = delete;
  LoopDatagrams& operator=(const LoopDatagrams&) = delete;

  // --- receiving ---------------------------------------------------------------------------------

  // Calls recvmmsg(2) once; returns the number of messages. They stay valid until the next call,
  // for any socket of the loop.
  SysResult<std::size_t> receive(int fd, bool with_control);
  // A received message. It is one datagram, or several that UDP_GRO has joined.
  struct Received {
    Datagram datagram;
    std::size_t segment = 0;  // bytes of each datagram but the last; 0: the message is one datagram
  };
  Received received(std::size_t index) const;
  // The received bytes must not be read any more (AddressSanitizer reports it).
  void end_of_batch();

  std::array<Datagram, kBatch> views;  // passed to on_datagrams

  // --- sending -----------------------------------------------------------------------------------

  // The socket whose handler is running. Its datagrams are gathered in the tables. Another socket
  // that needs the tables meanwhile first sends them.
  UdpSocketImpl* running = nullptr;
  // Sets `running` for its own lifetime. Also empties the tables when an exception ends it.
  class Gathering {
   public:
    Gathering(LoopDatagrams& tables, UdpSocketImpl& socket) : tables_(tables) {
      tables_.running = &socket;
    }
    ~Gathering() {
      tables_.running = nullptr;
      tables_.clear();
    }
    Gathering(const Gathering&) = delete;
    Gathering& operator=(const Gathering&) = delete;

   private:
    LoopDatagrams& tables_;
  };

  bool full() const { return count_ == kOutgoing; }
  std::size_t count() const { return count_; }
  // Adds a datagram by reference: the memory that it refers to must stay valid until clear().
  void add(const Outgoing& out, std::span<const std::byte> bytes);
  // Adds a datagram. Copies bytes, address and info unless they are in the memory of the received
  // batch. False: no room.
  bool add_copy(const Outgoing& out, std::span<const std::byte> bytes);
  void clear() { count_ = gathered_ = 0; }

  const Outgoing& outgoing(std::size_t index) const { return out_[index]; }
  std::span<const std::byte> bytes(std::size_t index) const {
    return {static_cast<const std::byte*>(out_vectors_[index].iov_base),
            out_vectors_[index].iov_len};
  }

  // Builds the messages of sendmmsg(2) for the datagrams from `first` on. Adjacent datagrams to one
  // peer, of one size up to `segment_limit`, become one message of several segments (0: never).
  std::span<mmsghdr> messages(std::size_t first, std::size_t segment_limit, bool ipv6);
  // Number of datagrams in a message.
  std::size_t run(std::size_t message) const { return runs_[message]; }

 private:
  // A little more than 64 KiB, so that the first bytes of the slots are in different cache sets.
  static constexpr std::size_t kSlot = UdpSocket::kMaxDatagram + 1 + 5 * kCacheLine;
  static_assert(kSlot % kCacheLine == 0);  // so that each slot begins at one

  std::span<const std::byte> written(std::size_t index) const;
  template <typename Rooms>
  bool lies_in(const Rooms& rooms, const void* at) const;
  std::size_t run_from(std::size_t first, std::size_t segment_limit) const;
  void set_control(msghdr& header, ControlRoom& room, const Outgoing& out, std::size_t segment,
                   bool ipv6);

  const AlignedBytes block_;
  std::array<mmsghdr, kBatch> in_headers_{};
  std::array<iovec, kBatch> in_vectors_{};
  std::array<AddressRoom, kBatch> in_names_;
  std::array<ControlRoom, kBatch> in_control_;
  std::size_t to_rearm_ = 0;  // headers that the last recvmmsg(2) has changed
  std::size_t control_size_ = 0;

  std::array<mmsghdr, kOutgoing> out_headers_{};
  std::array<iovec, kOutgoing> out_vectors_{};
  std::array<Outgoing, kOutgoing> out_;
  std::array<std::uint8_t, kOutgoing> runs_{};
  std::array<AddressRoom, kOutgoing> out_names_;
  std::array<ControlRoom, kOutgoing> out_control_;
  std::array<InfoRoom, kOutgoing> out_infos_;
  const AlignedBytes gather_;
  std::size_t count_ = 0;
  std::size_t gathered_ = 0;
};

}  // namespace weir::internal
