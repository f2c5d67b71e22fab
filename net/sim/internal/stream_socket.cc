#include "weir/net/sim/internal/stream_socket.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace weir::internal::sim {

namespace {

// All simulated hosts are this process.
int give_credentials(void* value, socklen_t* length) {
  const ucred credentials{.pid = ::getpid(), .uid = ::getuid(), .gid = ::getgid()};
  *length = std::min<socklen_t>(*length, sizeof(credentials));
  std::memcpy(value, &credentials, *length);
  return 0;
}

}  // namespace

StreamSocket::StreamSocket(Machine& machine, int family, Names& names)
    : machine_(machine),
      names_(names),
      send_buffer_(machine.faults.send_buffer),
      receive_buffer_(machine.faults.receive_buffer),
      own_(Name::of_family(family)),
      peer_name_(Name::of_family(family)) {}

std::uint32_t StreamSocket::poll() {
  std::uint32_t events = 0;
  if (state_ == State::listening) {
    if (!queue_.empty()) events |= EPOLLIN | EPOLLRDNORM;
    if (own_.is_ip()) return events;
    if (receive_shut_) events |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
    if (receive_shut_ && send_shut_) events |= EPOLLHUP;
    return events;
  }
  if (error_ != 0) events |= EPOLLERR;
  const bool closed = state_ == State::fresh || state_ == State::closed;
  if ((receive_shut_ && send_shut_) || closed) events |= EPOLLHUP;
  if (receive_shut_) events |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (state_ == State::connecting) return events;
  if (!input_.empty()) events |= EPOLLIN | EPOLLRDNORM;
  if (send_shut_ || writable()) {
    events |= EPOLLOUT | EPOLLWRNORM;
  } else {
    unwritable_seen_ = true;
  }
  return events;
}

ssize_t StreamSocket::receive(std::span<const iovec> into, int flags) {
  if ((flags & MSG_ERRQUEUE) != 0) return -EAGAIN;
  const bool unconnected = state_ == State::fresh && !own_.is_ip();
  if (state_ == State::listening || unconnected) return not_connected();
  if (machine_.interrupts()) return -EINTR;
  if (input_.empty()) {
    if (end_received_) return 0;
    if (error_ != 0) return take_error();
    if (receive_shut_) return 0;
    if (state_ == State::fresh || state_ == State::closed) return not_connected();
    return -EAGAIN;
  }
  const std::size_t most = std::min(size_of(into), input_.size());
  const std::size_t count = machine_.shortened(most, machine_.faults.short_read);
  copy_to(into, input_.view().substr(0, count));
  input_.consume(count);
  input_taken(count);
  return static_cast<ssize_t>(count);
}

int StreamSocket::refuse_write() {
  if (state_ == State::connecting) return -EAGAIN;
  if (error_ != 0) return take_error();
  if (send_shut_ || state_ != State::established) return -EPIPE;
  if (machine_.interrupts()) return -EINTR;
  if (machine_.random.chance(machine_.faults.no_buffers)) return -ENOBUFS;
  return 0;
}

int StreamSocket::bind(const sockaddr* address, socklen_t length) {
  if (has_own_name_) return -EINVAL;
  Name name(address, length);
  if (name.family() != own_.family()) return -EINVAL;
  if (const int error = names_.take(name, share_name_, shared_from_this()); error < 0) return error;
  own_ = name;
  has_own_name_ = bound_ = true;
  return 0;
}

int StreamSocket::listen(int backlog) {
  if (state_ != State::fresh && state_ != State::listening) return -EINVAL;
  if (!has_own_name_) {
    if (!own_.is_ip()) return -EINVAL;
    if (const int error = names_.take(own_, share_name_, shared_from_this()); error < 0) {
      return error;
    }
    has_own_name_ = bound_ = true;
  }
  state_ = State::listening;
  backlog_ = backlog;
  return 0;
}

std::shared_ptr<Object> StreamSocket::accept(int& error) {
  error = 0;
  if (state_ != State::listening) {
    error = -EINVAL;
  } else if (queue_.empty()) {
    error = -EAGAIN;
  } else if (machine_.random.chance(machine_.faults.accept_error)) {
    static constexpr int kErrors[] = {ECONNABORTED, EMFILE, ENFILE, ENOBUFS, EPROTO};
    error = -kErrors[machine_.random.below(std::size(kErrors))];
  }
  if (error != 0) return nullptr;
  auto stream = std::move(queue_.front());
  queue_.pop_front();
  return stream;
}

void StreamSocket::enqueue(std::shared_ptr<StreamSocket> stream) {
  queue_.push_back(std::move(stream));
  wake(EPOLLIN | EPOLLRDNORM);
}

void StreamSocket::end_listening() {
  state_ = State::fresh;
  for (const auto& stream : std::exchange(queue_, {})) stream->rejected();
}

void StreamSocket::leave_name() {
  if (std::exchange(bound_, false)) names_.leave(own_, *this);
}

int StreamSocket::get_option(int level, int name, void* value, socklen_t* length) {
  if (level == IPPROTO_TCP && name == TCP_INFO && own_.is_ip()) {
    std::memset(value, 0, *length);
    return 0;
  }
  if (level != SOL_SOCKET) return -ENOPROTOOPT;
  if (name == SO_PEERCRED && !own_.is_ip()) return give_credentials(value, length);
  switch (name) {
    case SO_ERROR:
      return give(value, length, -take_error());
    case SO_DOMAIN:
      return give(value, length, own_.family());
    case SO_TYPE:
      return give(value, length, SOCK_STREAM);
    case SO_ACCEPTCONN:
      return give(value, length, state_ == State::listening ? 1 : 0);
    case SO_SNDBUF:
      return give(value, length, static_cast<int>(send_buffer_));
    case SO_RCVBUF:
      return give(value, length, static_cast<int>(receive_buffer_));
    default:
      return -ENOPROTOOPT;
  }
}

// Options that only tune a real network are accepted.
int StreamSocket::set_option(int level, int name, const void* value, socklen_t length) {
  if (level != SOL_SOCKET) return level == IPPROTO_TCP && !own_.is_ip() ? -EOPNOTSUPP : 0;
  if (name == SO_LINGER) {
    if (length < sizeof(linger_)) return -EINVAL;
    std::memcpy(&linger_, value, sizeof(linger_));
    return 0;
  }
  int number = 0;
  if (length < sizeof(number)) return -EINVAL;
  std::memcpy(&number, value, sizeof(number));
  if (name == SO_REUSEPORT) share_name_ = number != 0;
  if (name == SO_SNDBUF) send_buffer_ = doubled(number, kLeastSendBuffer);
  if (name == SO_RCVBUF) receive_buffer_ = doubled(number, kLeastReceiveBuffer);
  return 0;
}

int StreamSocket::own_name(sockaddr* address, socklen_t* length) {
  own_.copy_to(address, length);
  return 0;
}

int StreamSocket::peer_name(sockaddr* address, socklen_t* length) {
  if (state_ != State::established) return -ENOTCONN;
  peer_name_.copy_to(address, length);
  return 0;
}

}  // namespace weir::internal::sim
