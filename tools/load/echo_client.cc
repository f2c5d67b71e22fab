#include "load/echo_client.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "load/echo_worker.h"

namespace weir::load {

namespace {

// An address has some 28,000 ports to connect from; past this many clients, the next one is used.
constexpr std::size_t kClientsPerSource = 20'000;

// All of 127.0.0.0/8 is this machine. Unspecified: let the kernel choose.
SocketAddress source_for(const SocketAddress& target, std::size_t index) {
  const std::size_t source = index / kClientsPerSource;
  if (source == 0 || target.family() != SocketAddress::Family::ipv4 ||
      !target.ip().starts_with("127.")) {
    return {};
  }
  auto address =
      SocketAddress::from_ip(fmt::format("127.77.{}.{}", source / 250, source % 250 + 1), 0);
  return address ? *address : SocketAddress();
}

}  // namespace

Pattern::Pattern() : bytes_(kPeriod + kMaxSlice) {
  std::uint64_t state = 0x9e3779b97f4a7c15;  // xorshift
  for (std::size_t i = 0; i < kPeriod; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    bytes_[i] = static_cast<std::byte>(state >> 56);
  }
  for (std::size_t i = kPeriod; i < bytes_.size(); ++i) bytes_[i] = bytes_[i - kPeriod];
}

// Messages are counted from a place of the connection's own in the pattern.
EchoClient::EchoClient(EchoWorker& worker, std::size_t index)
    : worker_(worker),
      index_(index),
      started_(worker.settings().depth),
      sent_(index * 7919),
      received_(sent_) {}

// The descriptor joins epoll after connect(2): before, epoll reports it as hung up.
Errno EchoClient::connect() {
  const SocketAddress& target = worker_.settings().target;
  auto socket = Socket::stream(target.family());
  if (!socket) {
    connect_ended(socket.error());
    return {};
  }
  socket_ = std::move(*socket);
  if (target.is_ip()) static_cast<void>(socket_.set_nodelay(true));
  if (const SocketAddress source = source_for(target, index_); source.is_ip()) {
    static_cast<void>(socket_.set_reuse_addr(true));  // ports of connections that just ended
    if (const auto bound = socket_.bind(source); !bound) {
      connect_ended(bound.error());
      return {};
    }
  }
  const auto done = socket_.connect(target);
  if (!done && done.error() == EAGAIN) {
    socket_.close();
    return done.error();
  }
  if (!done && !(done.error() == EINPROGRESS)) {
    connect_ended(done.error());
    return {};
  }
  state_ = State::connecting;
  channel_.emplace(worker_.loop(), socket_.fd(), *this);
  if (done) {
    connect_ended({});
  } else {
    channel_->set_writing(true);
  }
  return {};
}

void EchoClient::connect_ended(Errno error) {
  if (error) {
    fail(fmt::format("connect: {}", error));
    return;
  }
  state_ = State::connected;
  channel_->set_writing(false);
  channel_->set_reading(true);
  worker_.client_connected();
}

void EchoClient::begin() {
  sending_ = true;
  fill_up();
}

void EchoClient::finish() { sending_ = false; }

void EchoClient::on_ready(std::uint32_t events) {
  if (state_ == State::connecting) {
    connect_ended(socket_.error());
    return;
  }
  if ((events & EPOLLOUT) != 0 && unsent_ > 0) write();
  if (state_ == State::connected && (events & ~std::uint32_t{EPOLLOUT}) != 0) read();
}

void EchoClient::on_interest_refused(Errno error) { fail(fmt::format("epoll_ctl: {}", error)); }

void EchoClient::fill_up() {
  if (sending_ && in_flight_ < started_.size()) {
    const TimePoint now = Clock::now();
    for (; in_flight_ < started_.size(); ++in_flight_) {
      started_[(oldest_ + in_flight_) % started_.size()] = now;
      unsent_ += worker_.settings().size;
    }
  }
  write();
}

void EchoClient::write() {
  while (unsent_ > 0) {
    const std::size_t length = std::min<std::uint64_t>(unsent_, Pattern::kMaxSlice);
    const auto sent = socket_.send(worker_.pattern().slice(sent_, length));
    if (!sent) {
      if (sent.error() == EAGAIN) break;
      fail(fmt::format("send: {}", sent.error()));
      return;
    }
    unsent_ -= *sent;
    sent_ += *sent;
  }
  channel_->set_writing(unsent_ > 0);
}

// One read a turn: epoll reports again what is left.
void EchoClient::read() {
  const std::span<std::byte> room = worker_.receive_room();
  const auto received = socket_.receive(room);
  if (!received) {
    if (!(received.error() == EAGAIN)) fail(fmt::format("receive: {}", received.error()));
    return;
  }
  if (*received == 0) {
    fail("closed by the server");
    return;
  }
  if (accept_bytes(room.first(*received))) fill_up();
}

bool EchoClient::accept_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() > sent_ - received_) {
    fail("more bytes came back than were sent");
    return false;
  }
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = std::min(bytes.size() - at, Pattern::kMaxSlice);
    if (std::memcmp(bytes.data() + at, worker_.pattern().slice(received_, length).data(), length) !=
        0) {
      fail("other bytes came back than were sent");
      return false;
    }
    at += length;
    received_ += length;
  }
  const TimePoint now = Clock::now();
  part_ += bytes.size();
  for (; part_ >= worker_.settings().size; part_ -= worker_.settings().size) {
    worker_.message_done(now - started_[oldest_]);
    oldest_ = (oldest_ + 1) % started_.size();
    --in_flight_;
  }
  if (!sending_ && in_flight_ == 0) worker_.client_rests();
  return true;
}

void EchoClient::fail(std::string kind) {
  const bool was_connected = state_ == State::connected;
  const bool was_waiting = in_flight_ > 0;
  close();
  worker_.client_failed(std::move(kind), was_connected, was_waiting);
}

void EchoClient::close() {
  if (channel_) channel_->remove();  // the object stays: this may be a call from it
  socket_.close();
  state_ = State::closed;
  in_flight_ = 0;
  unsent_ = 0;
}

}  // namespace weir::load
