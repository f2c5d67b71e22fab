// The socket calls of the simulated kernel.
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <array>
#include <utility>

#include "weir/net/sim/internal/datagram_socket.h"
#include "weir/net/sim/internal/kernel.h"
#include "weir/net/sim/internal/tcp_socket.h"
#include "weir/net/sim/internal/unix_socket.h"

namespace weir::internal::sim {

namespace {

constexpr int kKind = SOCK_STREAM | SOCK_DGRAM | SOCK_SEQPACKET | SOCK_RAW;

}  // namespace

int Kernel::socket(int domain, int type, int /*protocol*/) {
  begin_call();
  const bool ip = domain == AF_INET || domain == AF_INET6;
  const int kind = type & kKind;
  std::shared_ptr<Object> made;
  if (ip && kind == SOCK_STREAM) made = std::make_shared<TcpSocket>(machine_, domain);
  if (ip && kind == SOCK_DGRAM) made = std::make_shared<DatagramSocket>(machine_, domain);
  if (domain == AF_UNIX && kind == SOCK_STREAM) made = std::make_shared<UnixSocket>(machine_);
  return end_call("socket", domain, made == nullptr ? -EAFNOSUPPORT : install(std::move(made)));
}

int Kernel::socketpair(int domain, int type, int /*protocol*/, int* ends) {
  begin_call();
  if (domain != AF_UNIX || (type & kKind) != SOCK_STREAM) {
    return end_call("socketpair", domain, -EOPNOTSUPP);
  }
  const std::array sockets{std::make_shared<UnixSocket>(machine_),
                           std::make_shared<UnixSocket>(machine_)};
  UnixSocket::join(sockets[0], sockets[1]);
  ends[0] = install(sockets[0]);
  ends[1] = ends[0] < 0 ? -1 : install(sockets[1]);
  if (ends[0] >= 0 && ends[1] >= 0) return end_call("socketpair", ends[0], 0);
  const int error = ends[0] < 0 ? ends[0] : ends[1];
  if (ends[0] >= 0) close(ends[0]);
  return end_call("socketpair", domain, error);
}

int Kernel::bind(int fd, const sockaddr* address, socklen_t length) {
  return on_object("bind", fd, [&](Object& object) { return object.bind(address, length); });
}

int Kernel::listen(int fd, int backlog) {
  return on_object("listen", fd, [&](Object& object) { return object.listen(backlog); });
}

int Kernel::accept4(int fd, sockaddr* address, socklen_t* length, int /*flags*/) {
  return on_object("accept4", fd, [&](Object& object) {
    if (object.is_socket() && machine_.interrupts()) return -EINTR;
    if (object.is_socket() && open_ >= machine_.faults.max_descriptors) return -EMFILE;
    int error = 0;
    auto accepted = object.accept(error);
    if (accepted == nullptr) return error;
    if (address != nullptr) static_cast<void>(accepted->peer_name(address, length));
    return install(std::move(accepted));
  });
}

int Kernel::connect(int fd, const sockaddr* address, socklen_t length) {
  return on_object("connect", fd, [&](Object& object) { return object.connect(address, length); });
}

int Kernel::shutdown(int fd, int how) {
  return on_object("shutdown", fd, [&](Object& object) { return object.shutdown(how); });
}

int Kernel::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return on_object("getsockopt", fd,
                   [&](Object& object) { return object.get_option(level, name, value, length); });
}

int Kernel::setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return on_object("setsockopt", fd,
                   [&](Object& object) { return object.set_option(level, name, value, length); });
}

int Kernel::getsockname(int fd, sockaddr* address, socklen_t* length) {
  return on_object("getsockname", fd,
                   [&](Object& object) { return object.own_name(address, length); });
}

int Kernel::getpeername(int fd, sockaddr* address, socklen_t* length) {
  return on_object("getpeername", fd,
                   [&](Object& object) { return object.peer_name(address, length); });
}

ssize_t Kernel::recv(int fd, void* data, std::size_t size, int flags) {
  const iovec into{.iov_base = data, .iov_len = size};
  return on_object("recv", fd,
                   [&](Object& object) { return object.receive(std::span(&into, 1), flags); });
}

ssize_t Kernel::recvmsg(int fd, msghdr* message, int flags) {
  return on_object("recvmsg", fd, [&](Object& object) {
    if (auto* datagrams = dynamic_cast<DatagramSocket*>(&object)) {
      return datagrams->receive_message(*message, flags);
    }
    message->msg_controllen = 0;
    message->msg_flags = 0;
    return object.receive(std::span(message->msg_iov, message->msg_iovlen), flags);
  });
}

ssize_t Kernel::send(int fd, const void* data, std::size_t size, int /*flags*/) {
  // iovec has no const; send() does not write.
  const iovec from{.iov_base = const_cast<void*>(data), .iov_len = size};  // NOLINT
  return on_object("send", fd, [&](Object& object) { return object.send(std::span(&from, 1)); });
}

ssize_t Kernel::sendmsg(int fd, const msghdr* message, int /*flags*/) {
  return on_object("sendmsg", fd, [&](Object& object) {
    if (auto* datagrams = dynamic_cast<DatagramSocket*>(&object)) {
      return datagrams->send_message(*message);
    }
    return object.send(std::span(message->msg_iov, message->msg_iovlen));
  });
}

// Both return the number of messages before the first error, if there are any.
int Kernel::recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return on_object("recvmmsg", fd, [&](Object& object) {
    auto* const datagrams = dynamic_cast<DatagramSocket*>(&object);
    if (datagrams == nullptr) return -ENOTSOCK;
    for (unsigned i = 0; i < count; ++i) {
      const ssize_t got = datagrams->receive_message(messages[i].msg_hdr, flags);
      if (got < 0) return i > 0 ? static_cast<int>(i) : static_cast<int>(got);
      messages[i].msg_len = static_cast<unsigned>(got);
    }
    return static_cast<int>(count);
  });
}

int Kernel::sendmmsg(int fd, mmsghdr* messages, unsigned count, int /*flags*/) {
  return on_object("sendmmsg", fd, [&](Object& object) {
    auto* const datagrams = dynamic_cast<DatagramSocket*>(&object);
    if (datagrams == nullptr) return -ENOTSOCK;
    for (unsigned i = 0; i < count; ++i) {
      const ssize_t sent = datagrams->send_message(messages[i].msg_hdr);
      if (sent < 0) return i > 0 ? static_cast<int>(i) : static_cast<int>(sent);
      messages[i].msg_len = static_cast<unsigned>(sent);
    }
    return static_cast<int>(count);
  });
}

int Kernel::ioctl(int fd, unsigned long request, int* value) {
  return on_object("ioctl", fd, [&](Object& object) {
    if (request != SIOCINQ && request != SIOCOUTQ) return -ENOTTY;
    const int bytes = request == SIOCINQ ? object.bytes_in() : object.bytes_out();
    if (bytes < 0) return bytes;
    *value = bytes;
    return 0;
  });
}

}  // namespace weir::internal::sim
