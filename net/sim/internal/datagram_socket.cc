#include "weir/net/sim/internal/datagram_socket.h"

#include <netinet/udp.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace weir::internal::sim {

namespace {

constexpr std::size_t kMostBytes = 65507;  // of a datagram of IPv4

// The segment size in the control messages; 0: one datagram.
std::size_t segment_size(const msghdr& message) {
  auto* place = const_cast<msghdr*>(&message);  // NOLINT: CMSG_NXTHDR only reads
  for (cmsghdr* each = CMSG_FIRSTHDR(place); each != nullptr; each = CMSG_NXTHDR(place, each)) {
    if (each->cmsg_level != IPPROTO_UDP || each->cmsg_type != UDP_SEGMENT) continue;
    std::uint16_t size = 0;
    std::memcpy(&size, CMSG_DATA(each), sizeof(size));
    return size;
  }
  return 0;
}

}  // namespace

DatagramSocket::DatagramSocket(Machine& machine, int family)
    : machine_(machine),
      own_(Name::of_family(family)),
      send_buffer_(machine.faults.send_buffer),
      receive_buffer_(machine.faults.receive_buffer) {}

std::uint32_t DatagramSocket::poll() {
  std::uint32_t events = 0;
  if (error_ != 0) events |= EPOLLERR;
  if (!input_.empty()) events |= EPOLLIN | EPOLLRDNORM;
  if (unsent_ * 2 < send_buffer_) {
    events |= EPOLLOUT | EPOLLWRNORM;
  } else {
    unwritable_seen_ = true;
  }
  return events;
}

void DatagramSocket::closed() {
  Object::closed();
  if (std::exchange(bound_, false)) machine_.datagram_names.leave(own_, *this);
}

ssize_t DatagramSocket::receive(std::span<const iovec> into, int flags) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(into.data());  // NOLINT: as recvmsg(2) declares it
  message.msg_iovlen = into.size();
  return receive_message(message, flags);
}

ssize_t DatagramSocket::send(std::span<const iovec> from) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(from.data());  // NOLINT: as sendmsg(2) declares it
  message.msg_iovlen = from.size();
  return send_message(message);
}

ssize_t DatagramSocket::receive_message(msghdr& message, int flags) {
  if ((flags & MSG_ERRQUEUE) != 0) return -EAGAIN;
  if (error_ != 0) return -std::exchange(error_, 0);
  if (machine_.interrupts()) return -EINTR;
  if (input_.empty()) return -EAGAIN;
  const Datagram datagram = std::move(input_.front());
  input_.pop_front();
  input_bytes_ -= datagram.bytes.size();
  const std::span into(message.msg_iov, message.msg_iovlen);
  const std::size_t count = copy_to(into, datagram.bytes);
  message.msg_flags = count < datagram.bytes.size() ? MSG_TRUNC : 0;
  message.msg_controllen = 0;
  if (message.msg_name != nullptr) {
    datagram.from.copy_to(static_cast<sockaddr*>(message.msg_name), &message.msg_namelen);
  }
  return static_cast<ssize_t>(count);
}

ssize_t DatagramSocket::send_message(const msghdr& message) {
  if (error_ != 0) return -std::exchange(error_, 0);
  if (message.msg_name == nullptr && !connected_) return -EDESTADDRREQ;
  const std::span from(message.msg_iov, message.msg_iovlen);
  const std::size_t size = size_of(from);
  const std::size_t segment = segment_size(message);
  if (size > kMostBytes) return -EMSGSIZE;
  if (machine_.interrupts()) return -EINTR;
  if (machine_.random.chance(machine_.faults.no_buffers)) return -ENOBUFS;
  if (unsent_ >= send_buffer_) {
    unwritable_seen_ = true;
    return -EAGAIN;
  }
  if (const int error = take_name(); error < 0) return error;
  const Name to = message.msg_name == nullptr
                      ? peer_
                      : Name(static_cast<const sockaddr*>(message.msg_name), message.msg_namelen);
  const std::string bytes = copy_from(from, size);
  const std::size_t step = segment == 0 ? size : segment;
  std::size_t done = 0;
  do {
    post(bytes.substr(done, step), to);
    done += step;
  } while (done < size);
  return static_cast<ssize_t>(size);
}

void DatagramSocket::post(const std::string& bytes, const Name& to) {
  unsent_ += bytes.size();
  const bool lost = machine_.random.chance(machine_.faults.lost);
  const int copies = lost ? 0 : machine_.random.chance(machine_.faults.duplicated) ? 2 : 1;
  const TimePoint sent_at = machine_.after_latency();
  const auto from = shared_from_this();
  for (int i = 0; i < copies; ++i) {
    const TimePoint at = i == 0 ? sent_at : machine_.after_latency();
    machine_.wire.send(at, [from, bytes, to] { from->leave_for(bytes, to); });
  }
  machine_.wire.send(sent_at, [from, size = bytes.size()] { from->sent(size); });
}

// A socket that is connected to the sender comes first. Sockets that share a name each get the
// datagrams of some senders.
std::shared_ptr<DatagramSocket> DatagramSocket::find_receiver(const Name& from, const Name& to) {
  std::vector<std::shared_ptr<DatagramSocket>> open;
  for (const auto& object : machine_.datagram_names.find(to)) {
    auto socket = std::static_pointer_cast<DatagramSocket>(object);
    if (!socket->connected_)
      open.push_back(std::move(socket));
    else if (socket->peer_.key() == from.key())
      return socket;
  }
  if (open.empty()) return nullptr;
  return open[std::hash<std::string>()(from.key()) % open.size()];
}

// At the far end. A port without a socket is reported to a connected sender (ICMP).
void DatagramSocket::leave_for(const std::string& bytes, const Name& to) {
  const Name from = own_.as_sender_to(to);
  const auto receiver = find_receiver(from, to);
  if (receiver == nullptr) {
    if (!connected_) return;
    error_ = ECONNREFUSED;
    wake(EPOLLERR);
    return;
  }
  if (machine_.separated(*this, *receiver)) return;
  receiver->arrive({.bytes = bytes, .from = from});
}

void DatagramSocket::arrive(Datagram datagram) {
  if (input_bytes_ + datagram.bytes.size() > receive_buffer_) return;  // lost
  input_bytes_ += datagram.bytes.size();
  input_.push_back(std::move(datagram));
  wake(EPOLLIN | EPOLLRDNORM);
}

void DatagramSocket::sent(std::size_t size) {
  unsent_ -= size;
  if (unsent_ * 2 < send_buffer_ && std::exchange(unwritable_seen_, false)) {
    wake(EPOLLOUT | EPOLLWRNORM);
  }
}

int DatagramSocket::take_name() {
  if (bound_) return 0;
  const int error = machine_.datagram_names.take(own_, share_name_, shared_from_this());
  bound_ = error == 0;
  return error;
}

int DatagramSocket::bind(const sockaddr* address, socklen_t length) {
  if (bound_) return -EINVAL;
  const Name name(address, length);
  if (name.family() != own_.family()) return -EAFNOSUPPORT;
  own_ = name;
  return take_name();
}

int DatagramSocket::connect(const sockaddr* address, socklen_t length) {
  const Name to(address, length);
  if (to.family() != own_.family()) return -EAFNOSUPPORT;
  if (!bound_) {  // an address of its own, by which the peer finds it
    own_ = to;
    own_.set_port(0);
  }
  if (const int error = take_name(); error < 0) return error;
  peer_ = to;
  connected_ = true;
  return 0;
}

int DatagramSocket::get_option(int level, int name, void* value, socklen_t* length) {
  if (level != SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_ERROR:
      return give(value, length, std::exchange(error_, 0));
    case SO_DOMAIN:
      return give(value, length, own_.family());
    case SO_TYPE:
      return give(value, length, SOCK_DGRAM);
    case SO_SNDBUF:
      return give(value, length, static_cast<int>(send_buffer_));
    case SO_RCVBUF:
      return give(value, length, static_cast<int>(receive_buffer_));
    default:
      return -ENOPROTOOPT;
  }
}

// UDP_GRO and IP_PKTINFO are refused, so that no control message is expected.
int DatagramSocket::set_option(int level, int name, const void* value, socklen_t length) {
  if (level == IPPROTO_UDP) return -ENOPROTOOPT;
  if (level == IPPROTO_IP && name == IP_PKTINFO) return -ENOPROTOOPT;
  if (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO) return -ENOPROTOOPT;
  int number = 0;
  if (length < sizeof(number)) return -EINVAL;
  std::memcpy(&number, value, sizeof(number));
  if (level != SOL_SOCKET) return 0;
  if (name == SO_REUSEPORT) share_name_ = number != 0;
  if (name == SO_SNDBUF) send_buffer_ = doubled(number, kLeastSendBuffer);
  if (name == SO_RCVBUF) receive_buffer_ = doubled(number, kLeastReceiveBuffer);
  return 0;
}

int DatagramSocket::own_name(sockaddr* address, socklen_t* length) {
  (connected_ ? own_.as_sender_to(peer_) : own_).copy_to(address, length);
  return 0;
}

int DatagramSocket::peer_name(sockaddr* address, socklen_t* length) {
  if (!connected_) return -ENOTCONN;
  peer_.copy_to(address, length);
  return 0;
}

}  // namespace weir::internal::sim
