// One datagram socket in memory: the script is the network. See memory_kernel.h.
#pragma once

#include <sys/socket.h>

#include <deque>
#include <functional>
#include <string>

#include "fuzz/memory_kernel.h"
#include "weir/net/socket/socket_address.h"

namespace weir::fuzz {

class MemoryDatagrams : public MemoryKernel {
 public:
  // What one recvmmsg(2) message has.
  struct Message {
    std::string payload;
    SocketAddress peer;
    std::size_t segment = 0;  // UDP_GRO: the size of its datagrams; 0: none
    bool truncated = false;
    bool packet_info = false;  // sent to local()
  };

  // Begins anew: no socket, and nothing on its way.
  void reset(bool ipv6);

  // The script. After a change of `incoming`, `room` or `error` call changed().
  std::deque<Message> incoming;
  std::size_t room = kNoLimit;  // messages that the socket takes until it is full
  int receive_error = 0;        // of the next call
  int send_error = 0;
  int error = 0;  // SO_ERROR
  void changed(bool happened = true);
  // Called with each datagram that is sent; `to` is unspecified for the connected peer.
  std::function<void(const SocketAddress& to, std::string_view bytes)> sent;

  const SocketAddress& local() const { return local_; }
  int fd() const { return fd_; }

  int socket(int domain, int type, int protocol) override;
  int bind(int fd, const sockaddr* address, socklen_t length) override;
  int connect(int fd, const sockaddr* address, socklen_t length) override;
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length) override;
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length) override;
  int getsockname(int fd, sockaddr* address, socklen_t* length) override;
  int getpeername(int fd, sockaddr* address, socklen_t* length) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;
  int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;

 private:
  static constexpr std::size_t kNoLimit = static_cast<std::size_t>(-1);
  void receive(msghdr& header, unsigned& size, const Message& message) const;
  void deliver(const msghdr& header);

  SocketAddress local_;
  SocketAddress peer_;
  int fd_ = -1;
};

}  // namespace weir::fuzz
