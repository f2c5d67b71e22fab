#include "weir/net/service/descriptor_passing.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "weir/net/sys/sys.h"

namespace weir {

namespace sys = internal::sys;

namespace {

constexpr std::size_t kMostBytes = kMaxPassedDescriptors * sizeof(int);

// Has room for all descriptors of one message, so that excess descriptors are received and closed.
struct alignas(cmsghdr) ControlBlock {
  std::array<std::byte, CMSG_SPACE(kMostBytes)> bytes{};
};

// Takes all descriptors out of a received message, also after an error. `room` is empty and has
// capacity for all of them: without memory they would stay open.
SysResult<std::vector<Fd>> descriptors_in(msghdr& message, std::vector<Fd> room) {
  std::vector<Fd> result = std::move(room);
  Errno error;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      auto taken = sys::take_over(fd);
      if (taken) {
        result.push_back(std::move(*taken));
      } else {
        error = taken.error();
      }
    }
  }
  if (error) return std::unexpected(error);
  return result;
}

}  // namespace

SysResult<std::size_t> send_descriptors(Socket& socket, std::span<const std::byte> bytes,
                                        std::span<const int> descriptors) {
  if (bytes.empty() || descriptors.size() > kMaxPassedDescriptors) {
    return std::unexpected(Errno(EINVAL));
  }
  ControlBlock control;
  // sendmsg(2) only reads the bytes.
  iovec vector{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  }
  return sys::send_message(socket.fd(), message);
}

SysResult<ReceivedDescriptors> receive_descriptors(Socket& socket, std::span<std::byte> into,
                                                   std::size_t most) {
  ControlBlock control;
  iovec vector{.iov_base = into.data(), .iov_len = into.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  std::vector<Fd> room;
  room.reserve(kMostBytes / sizeof(int));
  const auto received = sys::recv_message(socket.fd(), message);
  if (!received) return std::unexpected(received.error());
  auto descriptors = descriptors_in(message, std::move(room));
  if (!descriptors) return std::unexpected(descriptors.error());
  ReceivedDescriptors result{.bytes = *received, .descriptors = std::move(*descriptors)};
  if ((message.msg_flags & MSG_CTRUNC) != 0 || result.descriptors.size() > most) {
    return std::unexpected(Errno(EMSGSIZE));
  }
  return result;
}

}  // namespace weir
