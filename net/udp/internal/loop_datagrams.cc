#include "weir/net/udp/internal/loop_datagrams.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "weir/base/byte_order.h"
#include "weir/base/poison.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

// The value in a control message. CMSG_DATA may be misaligned for T.
template <typename T>
T data_of(const cmsghdr* message) {
  T value{};
  std::memcpy(&value, CMSG_DATA(message), sizeof(value));
  return value;
}

bool lies_within(const void* from, std::size_t size, const void* at) {
  const auto* begin = static_cast<const std::byte*>(from);
  const auto* place = static_cast<const std::byte*>(at);
  return !std::less<>()(place, begin) && std::less<>()(place, begin + size);
}

bool same_bytes(const void* a, const void* b, std::size_t size) {
  return a == b || std::memcmp(a, b, size) == 0;
}

bool same_route(const Outgoing& a, const Outgoing& b) {
  return a.to == b.to && a.info_size == b.info_size &&
         (a.info_size == 0 || same_bytes(a.info, b.info, a.info_size));
}

// False for multicast and broadcast addresses, also those of IPv4 on an IPv6 socket: the kernel
// sends nothing from them. (in_pktinfo of IPv4 also has an address of this machine, so it needs no
// check.)
bool is_valid_source(const in6_addr& from) {
  if (!IN6_IS_ADDR_V4MAPPED(&from)) return !IN6_IS_ADDR_MULTICAST(&from);
  std::uint32_t ipv4 = 0;
  std::memcpy(&ipv4, &from.s6_addr[12], sizeof(ipv4));
  ipv4 = network_to_host(ipv4);
  constexpr std::uint32_t kMulticast = 0xE;  // 224.0.0.0/4
  constexpr std::uint32_t kBroadcast = 0xFFFFFFFF;
  return ipv4 >> 28 != kMulticast && ipv4 != kBroadcast;
}

template <typename T>
std::size_t put_control(std::byte* at, int level, int type, const T& value) {
  cmsghdr head{};
  head.cmsg_level = level;
  head.cmsg_type = type;
  head.cmsg_len = CMSG_LEN(sizeof(value));
  std::memset(at, 0, CMSG_SPACE(sizeof(value)));  // the kernel also reads the padding
  std::memcpy(at, &head, sizeof(head));
  std::memcpy(at + CMSG_LEN(0), &value, sizeof(value));
  return CMSG_SPACE(sizeof(value));
}

}  // namespace

// The block is large, but only the pages that datagrams were written to are backed by memory.
LoopDatagrams::LoopDatagrams()
    : block_(make_aligned_bytes(kBatch * kSlot, kPage)), gather_(make_aligned_bytes(kGather)) {
  for (std::size_t i = 0; i < kBatch; ++i) {
    in_vectors_[i] = {.iov_base = block_.get() + i * kSlot, .iov_len = UdpSocket::kMaxDatagram};
    msghdr& header = in_headers_[i].msg_hdr;
    header.msg_iov = &in_vectors_[i];
    header.msg_iovlen = 1;
    header.msg_name = in_names_[i].bytes.data();
    header.msg_namelen = sizeof(AddressRoom);
    header.msg_control = in_control_[i].bytes.data();
  }
}

LoopDatagrams::~LoopDatagrams() { unpoison({block_.get(), kBatch * kSlot}); }

// --- receiving -----------------------------------------------------------------------------------

// The kernel writes the sizes of names and control data into the headers. Only headers that it has
// changed are set again, so that a call for one datagram touches few cache lines.
SysResult<std::size_t> LoopDatagrams::receive(int fd, bool with_control) {
  const std::size_t control = with_control ? sizeof(ControlRoom) : 0;
  if (control != control_size_) {
    control_size_ = control;
    to_rearm_ = kBatch;
  }
  for (std::size_t i = 0; i < to_rearm_; ++i) {
    unpoison(written(i));
    in_headers_[i].msg_hdr.msg_namelen = sizeof(AddressRoom);
    in_headers_[i].msg_hdr.msg_controllen = control;
  }
  to_rearm_ = 0;
  auto got = sys::recv_batch(fd, in_headers_);
  to_rearm_ = got ? *got : 0;
  return got;
}

LoopDatagrams::Received LoopDatagrams::received(std::size_t index) const {
  const mmsghdr& message = in_headers_[index];
  const msghdr& header = message.msg_hdr;
  Received result;
  result.datagram.payload = {static_cast<const std::byte*>(in_vectors_[index].iov_base),
                             message.msg_len};
  result.datagram.peer =
      AddressView(static_cast<const sockaddr*>(header.msg_name), header.msg_namelen);
  result.datagram.truncated = (header.msg_flags & MSG_TRUNC) != 0;
  if (control_size_ == 0) return result;
  auto* place = const_cast<msghdr*>(&header);  // NOLINT: CMSG_NXTHDR only reads
  for (cmsghdr* c = CMSG_FIRSTHDR(place); c != nullptr; c = CMSG_NXTHDR(place, c)) {
    if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) ||
        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)) {
      result.datagram.packet_info = CMSG_DATA(c);
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      result.segment = static_cast<std::size_t>(std::max(data_of<int>(c), 0));
    }
  }
  return result;
}

// The bytes that the last recvmmsg(2) wrote to a slot; valid for index < to_rearm_.
std::span<const std::byte> LoopDatagrams::written(std::size_t index) const {
  return {static_cast<const std::byte*>(in_vectors_[index].iov_base), in_headers_[index].msg_len};
}

void LoopDatagrams::end_of_batch() {
  for (std::size_t i = 0; i < to_rearm_; ++i) poison(written(i));
}

// --- sending -------------------------------------------------------------------------------------

void LoopDatagrams::add(const Outgoing& out, std::span<const std::byte> bytes) {
  // The const_cast is safe: sendmmsg(2) only reads the bytes.
  out_vectors_[count_] = {.iov_base = const_cast<std::byte*>(bytes.data()),  // NOLINT
                          .iov_len = bytes.size()};
  out_[count_] = out;
  ++count_;
}

template <typename Rooms>
bool LoopDatagrams::lies_in(const Rooms& rooms, const void* at) const {
  return lies_within(rooms.data(), sizeof(rooms), at);
}

bool LoopDatagrams::add_copy(const Outgoing& out, std::span<const std::byte> bytes) {
  if (full()) return false;
  Outgoing kept = out;
  if (!bytes.empty() && !lies_within(block_.get(), kBatch * kSlot, bytes.data())) {
    if (bytes.size() > kGather - gathered_) return false;
    std::byte* copy = gather_.get() + gathered_;
    std::memcpy(copy, bytes.data(), bytes.size());
    gathered_ += bytes.size();
    bytes = {copy, bytes.size()};
  }
  // Not empty(): a lone family is copied, too. NOLINTNEXTLINE(readability-container-size-empty)
  if (out.to.size() > 0 && !lies_in(in_names_, out.to.data())) {
    if (count_ > 0 && out_[count_ - 1].to == out.to) {  // repeated: no copy
      kept.to = out_[count_ - 1].to;
    } else {
      std::byte* copy = out_names_[count_].bytes.data();
      const auto size = std::min<std::size_t>(out.to.size(), sizeof(AddressRoom));
      std::memcpy(copy, out.to.data(), size);
      kept.to = AddressView(reinterpret_cast<const sockaddr*>(copy), static_cast<socklen_t>(size));
    }
  }
  if (out.info_size > 0 && !lies_in(in_control_, out.info)) {
    std::byte* copy = out_infos_[count_].bytes.data();
    kept.info_size = std::min<std::uint32_t>(out.info_size, sizeof(InfoRoom));
    std::memcpy(copy, out.info, kept.info_size);
    kept.info = copy;
  }
  add(kept, bytes);
  return true;
}

// The number of datagrams from `first` on that can be one message: all of one size, except that the
// last may be shorter.
std::size_t LoopDatagrams::run_from(std::size_t first, std::size_t segment_limit) const {
  const std::size_t size = out_vectors_[first].iov_len;
  if (size == 0 || size > segment_limit) return 1;
  const std::size_t end = std::min(count_, first + kMaxSegments);
  std::size_t total = size;
  std::size_t next = first + 1;
  for (; next < end; ++next) {
    const std::size_t more = out_vectors_[next].iov_len;
    total += more;
    if (more == 0 || more > size || total > kMaxSegmented) break;
    if (!same_route(out_[first], out_[next])) break;
    if (more < size) return next + 1 - first;
  }
  return next - first;
}

// Writes the control data: the source address, and the size of the segments.
void LoopDatagrams::set_control(msghdr& header, ControlRoom& room, const Outgoing& out,
                                std::size_t segment, bool ipv6) {
  std::byte* const begin = room.bytes.data();
  std::size_t used = 0;
  if (out.info_size > 0 && ipv6) {
    in6_pktinfo info{};
    std::memcpy(&info, out.info, sizeof(info));
    if (is_valid_source(info.ipi6_addr)) {
      if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
      used += put_control(begin + used, IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
  } else if (out.info_size > 0) {
    in_pktinfo info{};
    std::memcpy(&info, out.info, sizeof(info));
    info.ipi_ifindex = 0;  // the routing table chooses the interface
    used += put_control(begin + used, IPPROTO_IP, IP_PKTINFO, info);
  }
  if (segment > 0) {
    used +=
        put_control(begin + used, IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment));
  }
  header.msg_control = used > 0 ? begin : nullptr;
  header.msg_controllen = used;
}

std::span<mmsghdr> LoopDatagrams::messages(std::size_t first, std::size_t segment_limit,
                                           bool ipv6) {
  std::size_t made = 0;
  for (std::size_t i = first; i < count_; ++made) {
    const std::size_t run = run_from(i, segment_limit);
    const Outgoing& out = out_[i];
    msghdr& header = out_headers_[made].msg_hdr;
    header.msg_name = const_cast<sockaddr*>(out.to.data());  // NOLINT: as above
    header.msg_namelen = out.to.size();
    header.msg_iov = &out_vectors_[i];
    header.msg_iovlen = run;
    set_control(header, out_control_[made], out, run > 1 ? out_vectors_[i].iov_len : 0, ipv6);
    runs_[made] = static_cast<std::uint8_t>(run);
    i += run;
  }
  return std::span(out_headers_).first(made);
}

}  // namespace weir::internal
