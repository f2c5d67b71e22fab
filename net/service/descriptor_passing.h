// Passing open descriptors to another process over a connected Unix stream socket: SCM_RIGHTS,
// unix(7). The receiver gets duplicates that share file, offset and flags with the sender's.
// One socket is used by one thread at a time.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket.h"

namespace WEIR_EXPORT weir {

// The kernel takes no more in one message (SCM_MAX_FD).
inline constexpr std::size_t kMaxPassedDescriptors = 253;

// Sends `bytes`, at least one, with the descriptors, which stay the caller's. Returns the bytes
// sent; the descriptors went with the first of them, so send what is left without. EINVAL: no byte,
// or more than kMaxPassedDescriptors. ETOOMANYREFS: more of this user are on their way than
// RLIMIT_NOFILE allows. EAGAIN: nothing was sent.
SysResult<std::size_t> send_descriptors(Socket& socket, std::span<const std::byte> bytes,
                                        std::span<const int> descriptors);

struct ReceivedDescriptors {
  std::size_t bytes = 0;  // 0: the peer's end of file
  std::vector<Fd> descriptors;
};

// One receive. It ends where a message with descriptors ends, so those that come belong to these
// bytes. They are CLOEXEC from the start. EMSGSIZE: the peer sent more than `most`, or this process
// has no room for all (RLIMIT_NOFILE); what came is closed, and the bytes are lost.
SysResult<ReceivedDescriptors> receive_descriptors(Socket& socket, std::span<std::byte> into,
                                                   std::size_t most = kMaxPassedDescriptors);

}  // namespace weir
