// Passing open descriptors to another process over a connected Unix stream socket: SCM_RIGHTS,
// unix(7). The receiver gets duplicates that share file, offset and flags with the sender's
// descriptors. [one thread at a time for each socket]
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket.h"

namespace WEIR_EXPORT weir {

// The kernel's limit for one message (SCM_MAX_FD).
inline constexpr std::size_t kMaxPassedDescriptors = 253;

// Sends `bytes`, at least one byte, together with duplicates of `descriptors`. Returns the number
// of bytes sent. The descriptors go with the first byte, so send the remaining bytes without them.
// EINVAL: no byte, or more than kMaxPassedDescriptors. ETOOMANYREFS: this user has more descriptors
// in transit than RLIMIT_NOFILE allows. EAGAIN: nothing was sent.
SysResult<std::size_t> send_descriptors(Socket& socket, std::span<const std::byte> bytes,
                                        std::span<const int> descriptors);

struct ReceivedDescriptors {
  std::size_t bytes = 0;  // 0: the peer's end of file
  std::vector<Fd> descriptors;
};

// Receives once, at most to the end of a message with descriptors, so the descriptors belong to
// these bytes. They are received with CLOEXEC. EMSGSIZE: the peer sent more than `most`
// descriptors, or they exceed RLIMIT_NOFILE; all are then closed, and the bytes are lost.
SysResult<ReceivedDescriptors> receive_descriptors(Socket& socket, std::span<std::byte> into,
                                                   std::size_t most = kMaxPassedDescriptors);

}  // namespace weir
