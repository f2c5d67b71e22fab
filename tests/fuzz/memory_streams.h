// Connected stream sockets in memory: the script is the peer of each. See memory_kernel.h.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <string>

#include "fuzz/memory_kernel.h"

namespace weir::fuzz {

class MemoryStreams : public MemoryKernel {
 public:
  static constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

  // After a change by the script call changed(fd).
  struct Stream {
    // The peer: bytes that have arrived and were not read; then its FIN, or an error such as
    // ECONNRESET.
    std::string incoming;
    bool fin = false;
    int error = 0;
    // The kernel: bytes that it takes until the socket is full, bytes that it moves in one call,
    // and the error of the next call to send or receive.
    std::size_t room = kNoLimit;
    std::size_t step = kNoLimit;
    int next_error = 0;
    // What the library has done.
    std::string outgoing;
    bool shut = false;   // sent its FIN
    bool reset = false;  // an error was reported
    bool closed = false;
  };

  // A connected socket. The Stream lives as long as this object.
  int open_stream();
  Stream& stream(int fd) { return *streams_.at(fd); }
  // Tells epoll the readiness of the socket. See MemoryKernel::signal().
  void changed(int fd, bool happened = true);
  // A file; its byte at each position is that of pattern(). It has kFileSize bytes.
  static constexpr std::uint64_t kFileSize = 4000;
  int open_file();

  int close(int fd) override;
  int shutdown(int fd, int how) override;
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length) override;
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length) override;
  int getsockname(int fd, sockaddr* address, socklen_t* length) override;
  int getpeername(int fd, sockaddr* address, socklen_t* length) override;
  int ioctl(int fd, unsigned long request, int* value) override;
  ssize_t recv(int fd, void* data, std::size_t size, int flags) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  ssize_t send(int fd, const void* data, std::size_t size, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  ssize_t sendfile(int out, int in, off_t* offset, std::size_t count) override;

 private:
  ssize_t transmit(int fd, std::string_view bytes);

  std::map<int, std::unique_ptr<Stream>> streams_;
};

}  // namespace weir::fuzz
