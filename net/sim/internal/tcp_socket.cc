#include "weir/net/sim/internal/tcp_socket.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace weir::internal::sim {

namespace {

// A packet between separated hosts is sent again after this time, and a SYN up to this often
// (net.ipv4.tcp_syn_retries), each time after twice the time.
constexpr Duration kRetransmission = std::chrono::milliseconds(200);
constexpr Duration kFirstKnock = std::chrono::seconds(1);
constexpr int kMostKnocks = 7;

}  // namespace

std::shared_ptr<TcpSocket> TcpSocket::self() {
  return std::static_pointer_cast<TcpSocket>(shared_from_this());
}

// -- The wire -------------------------------------------------------------------------------------

// Arrivals are in order because each takes the first of `arriving_`, whichever packet it was
// scheduled for.
void TcpSocket::post(const std::shared_ptr<TcpSocket>& to, Packet packet) {
  packet.from = self();
  to->arriving_.push_back(std::move(packet));
  to->last_arrival_ = std::max(to->last_arrival_, machine_.after_latency());
  to->schedule_arrival(to->last_arrival_);
}

void TcpSocket::schedule_arrival(TimePoint at) {
  machine_.wire.send(at, [to = self()] { to->arrive(); });
}

void TcpSocket::arrive() {
  if (arriving_.empty()) return;
  const auto from = arriving_.front().from.lock();
  if (from != nullptr && machine_.separated(*from, *this)) {
    schedule_arrival(saturating_add(machine_.wire.now(), kRetransmission));
    return;
  }
  const Packet packet = std::move(arriving_.front());
  arriving_.pop_front();
  handle(packet);
}

void TcpSocket::tell_peer(Packet::Kind kind, std::size_t count) {
  if (const auto peer = peer_.lock()) post(peer, {.kind = kind, .count = count});
}

void TcpSocket::answer_with_reset(const Packet& packet) {
  if (const auto from = packet.from.lock()) post(from, {.kind = Packet::Kind::reset});
}

void TcpSocket::handle(const Packet& packet) {
  switch (packet.kind) {
    case Packet::Kind::syn_ack:
      if (state_ != State::connecting) {  // closed meanwhile: the answer is a reset
        answer_with_reset(packet);
        return;
      }
      state_ = State::established;
      peer_ = packet.from;
      window_ = packet.count;
      wake(EPOLLOUT | EPOLLWRNORM);
      break;
    case Packet::Kind::data:
      handle_data(packet);
      break;
    case Packet::Kind::fin:
      handle_fin();
      break;
    case Packet::Kind::reset:
      handle_reset();
      break;
    case Packet::Kind::ack:
      unsent_ -= std::min(unsent_, packet.count);
      if (unwritable_seen_ && writable()) {
        unwritable_seen_ = false;
        wake(EPOLLOUT | EPOLLWRNORM);
      }
      transmit();
      break;
    case Packet::Kind::fin_ack:
      fin_acked_ = true;
      wake();
      end_if_shut();
      break;
    case Packet::Kind::window:
      window_ += packet.count;
      transmit();
      break;
  }
}

void TcpSocket::handle_data(const Packet& packet) {
  if (state_ != State::established || gone_) {
    // The reader has gone: the answer is a reset, RFC 1122, 4.2.2.13.
    if (state_ == State::established) fail(ECONNRESET);
    answer_with_reset(packet);
    return;
  }
  if (receive_shut_ && send_shut_ && !end_received_) {
    reset_both();
    return;
  }
  const std::size_t count = packet.bytes.size();
  input_.append(packet.bytes);
  tell_peer(Packet::Kind::ack, count);
  wake(EPOLLIN | EPOLLRDNORM);
}

void TcpSocket::handle_fin() {
  tell_peer(Packet::Kind::fin_ack);
  if (state_ != State::established) return;
  receive_shut_ = end_received_ = true;
  wake();
  wake(EPOLLIN | EPOLLRDNORM);
  end_if_shut();
}

void TcpSocket::handle_reset() {
  if (state_ == State::connecting) {
    fail(ECONNREFUSED);
  } else if (state_ == State::established) {
    fail(end_received_ && !send_shut_ ? EPIPE : ECONNRESET);
  }
}

void TcpSocket::fail(int error) {
  error_ = error;
  state_ = State::closed;
  receive_shut_ = send_shut_ = true;
  output_.clear();
  unsent_ = 0;
  peer_.reset();
  wake(EPOLLERR);
  wake();
  machine_.orphans.erase(shared_from_this());
}

void TcpSocket::reset_both() {
  tell_peer(Packet::Kind::reset);
  fail(ECONNRESET);
}

// TIME_WAIT is a state of the kernel alone: for the program the socket is closed.
void TcpSocket::end_if_shut() {
  if (!end_received_ || !fin_acked_ || state_ != State::established) return;
  state_ = State::closed;
  receive_shut_ = send_shut_ = true;
  wake();
  machine_.orphans.erase(shared_from_this());
}

// -- Connecting -----------------------------------------------------------------------------------

int TcpSocket::connect(const sockaddr* address, socklen_t length) {
  if (state_ == State::connecting) return -EALREADY;
  if (state_ == State::established) return -EISCONN;
  if (state_ != State::fresh) return error_ != 0 ? take_error() : -ECONNABORTED;
  Name to(address, length);
  if (to.family() != own_.family()) return -EAFNOSUPPORT;
  peer_name_ = to;
  if (!has_own_name_) {
    own_ = to;
    own_.set_port(names_.free_port(own_));
    has_own_name_ = true;
  }
  state_ = State::connecting;
  receive_shut_ = send_shut_ = false;
  knock();
  return -EINPROGRESS;
}

void TcpSocket::knock() {
  machine_.wire.send(machine_.after_latency(), [from = self()] { from->handle_syn(from); });
}

// At the far end. Nobody listens: refused. The queue is full, or the host cannot be reached: the
// SYN gets no answer and is sent again.
void TcpSocket::handle_syn(const std::shared_ptr<TcpSocket>& from) {
  if (state_ != State::connecting || gone_) return;
  std::vector<std::shared_ptr<TcpSocket>> listeners;
  for (const auto& object : names_.find(peer_name_)) {
    auto socket = std::static_pointer_cast<TcpSocket>(object);
    if (socket->state_ == State::listening) listeners.push_back(std::move(socket));
  }
  if (listeners.empty()) {
    fail(ECONNREFUSED);
    return;
  }
  TcpSocket& listener = *listeners[machine_.random.below(listeners.size())];
  if (!listener.queue_has_room() || machine_.separated(*this, listener)) {
    if (++knocks_ == kMostKnocks) {
      fail(ETIMEDOUT);
      return;
    }
    const TimePoint next = saturating_add(machine_.wire.now(), kFirstKnock * (1 << (knocks_ - 1)));
    machine_.wire.send(next, [from] { from->handle_syn(from); });
    return;
  }
  auto child = std::make_shared<TcpSocket>(machine_, own_.family());
  child->belongs_to(listener.host());
  child->state_ = State::established;
  child->send_buffer_ = listener.send_buffer_;
  child->receive_buffer_ = listener.receive_buffer_;
  child->own_ = peer_name_;
  child->has_own_name_ = true;
  child->peer_name_ = own_;
  child->peer_ = from;
  child->window_ = receive_buffer_;
  child->post(from, {.kind = Packet::Kind::syn_ack, .count = child->receive_buffer_});
  listener.enqueue(std::move(child));
}

// -- Data -----------------------------------------------------------------------------------------

// sk_stream_is_writeable: a third of the buffer is free.
bool TcpSocket::writable() { return room() >= unsent_ / 2 && room() > 0; }

ssize_t TcpSocket::send(std::span<const iovec> from) {
  if (const int error = refuse_write(); error < 0) return error;
  const std::size_t wanted = size_of(from);
  if (wanted == 0) return 0;
  if (room() == 0) {
    unwritable_seen_ = true;
    return -EAGAIN;
  }
  if (machine_.random.chance(machine_.faults.reset)) {
    reset_both();
    return take_error();
  }
  const std::size_t count =
      machine_.shortened(std::min(wanted, room()), machine_.faults.short_write);
  output_.append(copy_from(from, count));
  unsent_ += count;
  if (count < wanted) unwritable_seen_ = true;
  transmit();
  return static_cast<ssize_t>(count);
}

void TcpSocket::transmit() {
  const auto peer = peer_.lock();
  if (peer == nullptr || fin_sent_) return;
  const std::size_t most = std::max<std::size_t>(machine_.faults.max_segment, 1);
  while (!output_.empty() && window_ > 0) {
    const std::size_t count = std::min({output_.size(), window_, most});
    Packet packet{.kind = Packet::Kind::data};
    packet.bytes = output_.view().substr(0, count);
    output_.consume(count);
    window_ -= count;
    post(peer, std::move(packet));
  }
  if (output_.empty() && send_shut_) {
    fin_sent_ = true;
    post(peer, {.kind = Packet::Kind::fin});
  }
}

void TcpSocket::input_taken(std::size_t count) { tell_peer(Packet::Kind::window, count); }

int TcpSocket::bytes_out() {
  const bool fin_waits = send_shut_ && state_ == State::established && !fin_acked_;
  return static_cast<int>(unsent_ + (fin_waits ? 1 : 0));
}

// -- The end --------------------------------------------------------------------------------------

int TcpSocket::shutdown(int how) {
  if (state_ == State::listening) {
    if (how == SHUT_WR) return 0;
    end_listening();
    receive_shut_ = send_shut_ = false;  // disconnected: as before listen(2)
    wake();
    return 0;
  }
  const bool connected = state_ == State::established || state_ == State::connecting;
  if (how != SHUT_WR) receive_shut_ = true;
  if (how != SHUT_RD && !std::exchange(send_shut_, true)) transmit();
  wake();
  return connected ? 0 : -ENOTCONN;
}

// Input that nobody read is answered with a reset, RFC 2525, 2.17.
void TcpSocket::closed() {
  Object::closed();
  gone_ = true;
  leave_name();
  if (state_ == State::listening) end_listening();
  if (state_ != State::established) {
    state_ = State::closed;
    return;
  }
  if (!input_.empty() || lingers_not()) {
    reset_both();
    return;
  }
  send_shut_ = receive_shut_ = true;
  machine_.orphans.insert(shared_from_this());
  transmit();
}

void TcpSocket::rejected() {
  gone_ = true;
  reset_both();
}

}  // namespace weir::internal::sim
