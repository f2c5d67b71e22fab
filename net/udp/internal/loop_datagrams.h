// LoopDatagrams: what all datagram sockets of one loop share for moving datagrams: the block that
// they receive into, and the tables that recvmmsg(2) and sendmmsg(2) read:
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

// Any socket address, and any control data that we ask for or send, on cache lines of its own.
struct alignas(kCacheLine) AddressRoom {
  std::array<std::byte, sizeof(sockaddr_storage)> bytes;
};
struct alignas(kCacheLine) ControlRoom {
  std::array<std::byte, 128> bytes;
};
// An in_pktinfo or in6_pktinfo.
struct alignas(8) InfoRoom {
  std::array<std::byte, 24> bytes;
};

class LoopDatagrams {
 public:
  static constexpr std::size_t kBatch = UdpSocket::kMaxBatch;
  // Datagrams given to the kernel by one call.
  static constexpr std::size_t kOutgoing = 128;
  // Copied answers of one handler that leave in one call.
  static constexpr std::size_t kGather = 64 * 1024;
  // What UDP_SEGMENT takes: segments, and bytes in all with room for headers.
  static constexpr std::size_t kMaxSegments = 64;
  static constexpr std::size_t kMaxSegmented = 65000;

  LoopDatagrams();
  ~LoopDatagrams();
  LoopDatagrams(const LoopDatagrams&) = delete;
  LoopDatagrams& operator=(const LoopDatagrams&) = delete;

  // --- receiving ---------------------------------------------------------------------------------

  // One recvmmsg(2). What it brought stays until the next one, of any socket of the loop.
  SysResult<std::size_t> receive(int fd, bool with_control);
  // A message of those received, as one datagram or (coalesced by UDP_GRO) several of this size.
  struct Received {
    Datagram datagram;
    std::size_t segment = 0;  // 0: it is one
  };
  Received received(std::size_t index) const;
  // Nobody may look at what was received any more.
  void end_of_batch();

  std::array<Datagram, kBatch> views;  // what a handler is shown

  // --- sending -----------------------------------------------------------------------------------

  // The socket whose handler is running: its datagrams are gathered here. For those of any other,
  // the place is taken until they are sent.
  UdpSocketImpl* running = nullptr;
  // As long as that lasts. An exception leaves nothing behind.
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
  // Adds one; what it refers to stays where it is.
  void add(const Outgoing& out, std::span<const std::byte> bytes);
  // The same, with a copy of what does not lie in what was received. False: no room.
  bool add_copy(const Outgoing& out, std::span<const std::byte> bytes);
  void clear() { count_ = gathered_ = 0; }

  const Outgoing& outgoing(std::size_t index) const { return out_[index]; }
  std::span<const std::byte> bytes(std::size_t index) const {
    return {static_cast<const std::byte*>(out_vectors_[index].iov_base),
            out_vectors_[index].iov_len};
  }

  // The messages for those from `first` on, as sendmmsg(2) wants them. Neighbours of one peer and
  // of one size up to `segment_limit` become one message of several segments (0: none do).
  std::span<mmsghdr> messages(std::size_t first, std::size_t segment_limit, bool ipv6);
  // Datagrams in one of these messages.
  std::size_t run(std::size_t message) const { return runs_[message]; }

 private:
  // A little more than 64 KiB, so that the first bytes of all slots do not meet in one cache set.
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
  std::size_t to_rearm_ = 0;  // headers that the last call wrote to
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
