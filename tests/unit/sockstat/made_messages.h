// Messages as the kernel makes them, for tests of who reads them.
#pragma once

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "sockstat/model.h"

namespace weir::sockstat::test {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes bytes_of(const T& value) {
  Bytes bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline void append(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
  to.resize((to.size() + 3) & ~std::size_t{3});
}

inline Bytes attribute(unsigned short type, const Bytes& value) {
  Bytes bytes = bytes_of(rtattr{
      .rta_len = static_cast<unsigned short>(sizeof(rtattr) + value.size()), .rta_type = type});
  append(bytes, value);
  return bytes;
}

inline Bytes message(std::uint16_t type, std::uint32_t sequence, const Bytes& payload) {
  Bytes bytes =
      bytes_of(nlmsghdr{.nlmsg_len = static_cast<std::uint32_t>(sizeof(nlmsghdr) + payload.size()),
                        .nlmsg_type = type,
                        .nlmsg_flags = NLM_F_MULTI,
                        .nlmsg_seq = sequence,
                        .nlmsg_pid = 0});
  append(bytes, payload);
  return bytes;
}

// 10.0.0.1:7000 to 10.0.0.2:40000.
inline inet_diag_msg tcp_head(State state) {
  inet_diag_msg head{};
  head.idiag_family = AF_INET;
  head.idiag_state = static_cast<std::uint8_t>(state);
  head.id.idiag_sport = htons(7000);
  head.id.idiag_dport = htons(40000);
  head.id.idiag_src[0] = htonl(0x0a000001);
  head.id.idiag_dst[0] = htonl(0x0a000002);
  head.idiag_rqueue = 3;
  head.idiag_wqueue = 2;
  head.idiag_uid = 1000;
  head.idiag_inode = 4711;
  return head;
}

inline Bytes unix_name(std::string_view name) {
  Bytes value(name.size());
  std::memcpy(value.data(), name.data(), name.size());
  return attribute(UNIX_DIAG_NAME, value);
}

}  // namespace weir::sockstat::test
