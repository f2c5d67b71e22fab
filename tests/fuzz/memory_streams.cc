#include "fuzz/memory_streams.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fuzz/target.h"
#include "weir/base/byte_order.h"
#include "weir/base/check_format.h"

namespace weir::fuzz {

namespace {

int failed(int error) {
  errno = error;
  return -1;
}

int give_address(int port, sockaddr* address, socklen_t* length) {
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_port = host_to_network(static_cast<std::uint16_t>(port));
  loopback.sin_addr.s_addr = host_to_network(std::uint32_t{INADDR_LOOPBACK});
  std::memcpy(address, &loopback, std::min<std::size_t>(*length, sizeof(loopback)));
  *length = sizeof(loopback);
  return 0;
}

}  // namespace

int MemoryStreams::open_stream() {
  const int fd = open_descriptor();
  streams_.emplace(fd, std::make_unique<Stream>());
  changed(fd);
  return fd;
}

int MemoryStreams::open_file() { return open_descriptor(); }

void MemoryStreams::changed(int fd, bool happened) {
  const Stream& it = stream(fd);
  const bool broken = it.error != 0 || it.reset;
  std::uint32_t events = 0;
  if (!it.incoming.empty() || it.fin || broken) events |= EPOLLIN;
  if (it.fin || broken) events |= EPOLLRDHUP;
  if (it.room > 0 || broken) events |= EPOLLOUT;
  if (it.error != 0) events |= EPOLLERR;
  if (broken || (it.fin && it.shut)) events |= EPOLLHUP;
  signal(fd, events, happened);
}

int MemoryStreams::close(int fd) {
  if (const auto found = streams_.find(fd); found != streams_.end()) found->second->closed = true;
  return MemoryKernel::close(fd);
}

int MemoryStreams::shutdown(int fd, int how) {
  Stream& it = stream(fd);
  if (it.reset || it.error != 0) return failed(ENOTCONN);
  WEIR_CHECK(how == SHUT_WR && !it.shut, "shutdown({}) of {}", how, fd);
  it.shut = true;
  changed(fd);
  return 0;
}

int MemoryStreams::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  if (level != SOL_SOCKET || *length < sizeof(int)) return failed(ENOPROTOOPT);
  int answer = 0;
  if (name == SO_TYPE) {
    answer = SOCK_STREAM;
  } else if (name == SO_ERROR) {
    Stream& it = stream(fd);
    answer = std::exchange(it.error, 0);
    if (answer != 0) it.reset = true;
    changed(fd, false);
  } else {
    return failed(ENOPROTOOPT);
  }
  std::memcpy(value, &answer, sizeof(answer));
  *length = sizeof(answer);
  return 0;
}

int MemoryStreams::setsockopt(int, int, int, const void*, socklen_t) { return 0; }

int MemoryStreams::getsockname(int, sockaddr* address, socklen_t* length) {
  return give_address(80, address, length);
}

int MemoryStreams::getpeername(int fd, sockaddr* address, socklen_t* length) {
  const Stream& it = stream(fd);
  if (it.reset || it.error != 0) return failed(ENOTCONN);
  return give_address(1024 + fd % 1024, address, length);
}

int MemoryStreams::ioctl(int fd, unsigned long request, int* value) {
  if (request == SIOCINQ) {
    *value = static_cast<int>(stream(fd).incoming.size());
  } else if (request == SIOCOUTQ) {
    *value = 0;
  } else {
    return failed(EINVAL);
  }
  return 0;
}

ssize_t MemoryStreams::recv(int fd, void* data, std::size_t size, int) {
  Stream& it = stream(fd);
  if (it.next_error != 0) return failed(std::exchange(it.next_error, 0));
  if (!it.incoming.empty()) {
    const std::size_t n = std::min({size, it.incoming.size(), it.step});
    std::memcpy(data, it.incoming.data(), n);
    it.incoming.erase(0, n);
    if (it.incoming.empty()) changed(fd, false);
    return static_cast<ssize_t>(n);
  }
  if (it.error != 0) {
    it.reset = true;
    const int error = std::exchange(it.error, 0);
    changed(fd, false);
    return failed(error);
  }
  return it.fin || it.reset ? 0 : failed(EAGAIN);
}

ssize_t MemoryStreams::recvmsg(int fd, msghdr* message, int flags) {
  ssize_t total = 0;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
    const iovec& vector = message->msg_iov[i];
    const ssize_t got = recv(fd, vector.iov_base, vector.iov_len, flags);
    if (got < 0 && total == 0) return got;
    if (got > 0) total += got;
    if (got < static_cast<ssize_t>(vector.iov_len)) break;
  }
  return total;
}

ssize_t MemoryStreams::transmit(int fd, std::string_view bytes) {
  Stream& it = stream(fd);
  WEIR_CHECK(!it.shut, "bytes are sent after the FIN");
  if (it.next_error != 0) return failed(std::exchange(it.next_error, 0));
  if (it.error != 0) {
    it.reset = true;
    const int error = std::exchange(it.error, 0);
    changed(fd, false);
    return failed(error);
  }
  if (it.reset) return failed(EPIPE);
  const std::size_t n = std::min({bytes.size(), it.room, it.step});
  if (n == 0 && !bytes.empty()) return failed(EAGAIN);
  it.outgoing += bytes.substr(0, n);
  if (it.room != kNoLimit) it.room -= n;
  if (it.room == 0) changed(fd, false);
  return static_cast<ssize_t>(n);
}

ssize_t MemoryStreams::send(int fd, const void* data, std::size_t size, int) {
  return transmit(fd, {static_cast<const char*>(data), size});
}

ssize_t MemoryStreams::sendmsg(int fd, const msghdr* message, int) {
  std::string bytes;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
    const iovec& vector = message->msg_iov[i];
    bytes.append(static_cast<const char*>(vector.iov_base), vector.iov_len);
  }
  return transmit(fd, bytes);
}

ssize_t MemoryStreams::sendfile(int out, int in, off_t* offset, std::size_t count) {
  WEIR_CHECK(is_open(in), "sendfile from {}, which is closed", in);
  const auto from = static_cast<std::uint64_t>(*offset);
  const std::uint64_t left = kFileSize - std::min(from, kFileSize);
  return transmit(out, pattern(from, std::min<std::uint64_t>(count, left)));
}

}  // namespace weir::fuzz
