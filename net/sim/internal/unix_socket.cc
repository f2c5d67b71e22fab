#include "weir/net/sim/internal/unix_socket.h"

#include <algorithm>
#include <utility>

namespace weir::internal::sim {

void UnixSocket::join(const std::shared_ptr<UnixSocket>& a, const std::shared_ptr<UnixSocket>& b) {
  a->peer_ = b;
  b->peer_ = a;
  a->state_ = b->state_ = State::established;
}

int UnixSocket::connect(const sockaddr* address, socklen_t length) {
  if (state_ != State::fresh) return -EISCONN;
  const Name to(address, length);
  std::shared_ptr<UnixSocket> listener;
  for (const auto& object : names_.find(to)) {
    auto socket = std::static_pointer_cast<UnixSocket>(object);
    const bool open = socket->state_ == State::listening && !socket->receive_shut_;
    if (open) listener = std::move(socket);
  }
  if (listener == nullptr) return -ECONNREFUSED;
  if (!listener->queue_has_room()) return -EAGAIN;
  auto child = std::make_shared<UnixSocket>(machine_);
  child->own_ = to;
  child->peer_name_ = own_;
  peer_name_ = to;
  join(std::static_pointer_cast<UnixSocket>(shared_from_this()), child);
  listener->enqueue(std::move(child));
  wake();
  return 0;
}

ssize_t UnixSocket::send(std::span<const iovec> from) {
  if (state_ == State::fresh || state_ == State::listening) return -ENOTCONN;
  const auto peer = peer_.lock();
  if (send_shut_ || peer == nullptr || peer->receive_shut_) return -EPIPE;
  if (const int error = refuse_write(); error < 0) return error;
  const std::size_t wanted = size_of(from);
  if (wanted == 0) return 0;
  if (room() == 0) return -EAGAIN;
  const std::size_t count =
      machine_.shortened(std::min(wanted, room()), machine_.faults.short_write);
  peer->input_.append(copy_from(from, count));
  peer->chunks_.push_back(count);
  unsent_ += count;
  peer->wake(EPOLLIN | EPOLLRDNORM);
  return static_cast<ssize_t>(count);
}

void UnixSocket::input_taken(std::size_t count) {
  taken_ += count;
  std::size_t freed = 0;
  while (!chunks_.empty() && taken_ >= chunks_.front()) {
    taken_ -= chunks_.front();
    freed += chunks_.front();
    chunks_.pop_front();
  }
  const auto peer = peer_.lock();
  if (freed == 0 || peer == nullptr) return;
  peer->unsent_ -= std::min(peer->unsent_, freed);
  if (peer->writable()) peer->wake(EPOLLOUT | EPOLLWRNORM);
}

int UnixSocket::shutdown(int how) {
  const auto peer = peer_.lock();
  if (how != SHUT_WR) {
    receive_shut_ = true;
    if (peer != nullptr) peer->send_shut_ = true;
  }
  if (how != SHUT_RD) {
    send_shut_ = true;
    if (peer != nullptr) peer->receive_shut_ = true;
  }
  wake();
  if (peer != nullptr) peer->wake();
  return 0;
}

// Nobody has accepted it.
void UnixSocket::rejected() {
  rejected_ = true;
  closed();
}

void UnixSocket::closed() {
  Object::closed();
  if (state_ == State::listening) end_listening();
  leave_name();
  if (const auto peer = std::exchange(peer_, {}).lock()) {
    peer->receive_shut_ = peer->send_shut_ = true;
    if (!input_.empty() || rejected_) peer->error_ = ECONNRESET;
    peer->unsent_ = 0;
    peer->wake();
  }
  state_ = State::closed;
}

}  // namespace weir::internal::sim
