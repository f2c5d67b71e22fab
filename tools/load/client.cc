#include "load/client.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <cerrno>
#include <utility>

#include "load/worker.h"
#include "weir/base/fmt.h"

namespace weir::load {

namespace {

// Without --source: number of connections from one local address.
constexpr std::size_t kClientsPerSource = 20'000;

bool is_loopback(const SocketAddress& target) {
  return target.family() == SocketAddress::Family::ipv4 && target.ip().starts_with("127.");
}

}  // namespace

std::optional<SocketAddress> Client::source() const {
  const Settings& settings = worker_.settings();
  if (settings.source) return settings.source->address(index_ + attempts_ * settings.sockets());
  if (index_ >= kClientsPerSource && is_loopback(settings.target)) {
    return worker_.spare_sources().address(index_ / kClientsPerSource);
  }
  return std::nullopt;
}

SysResult<void> Client::bind_to_source() {
  const auto from = source();
  if (!from) return {};
  static_cast<void>(socket_.set_bind_address_no_port(true));
  return socket_.bind(*from);
}

// The descriptor is added to epoll after connect(2), because before that epoll reports EPOLLHUP.
Errno Client::connect() {
  const SocketAddress& target = worker_.settings().target;
  if (!std::exchange(queue_was_full_, false)) connect_began_ = Clock::now();
  auto socket = Socket::stream(target.family());
  if (!socket) {
    fail(fmt::format("socket: {}", socket.error()));
    return {};
  }
  socket_ = std::move(*socket);
  if (target.is_ip()) static_cast<void>(socket_.set_nodelay(true));
  if (const auto bound = bind_to_source(); !bound) {
    fail(fmt::format("bind: {}", bound.error()));
    return {};
  }
  const auto done = socket_.connect(target);
  if (!done && done.error() == EAGAIN) {
    socket_.close();
    queue_was_full_ = true;
    return done.error();
  }
  ++attempts_;
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

void Client::connect_ended(Errno error) {
  if (error) {
    fail(fmt::format("connect: {}", error));
    return;
  }
  state_ = State::connected;
  channel_->set_writing(false);
  channel_->set_reading(true);
  worker_.count_connected(Clock::now() - connect_began_);
  connected();
}

void Client::connected_at_once(TimePoint began) {
  state_ = State::connected;
  worker_.count_connected(Clock::now() - began);
  connected();
}

void Client::on_ready(std::uint32_t events) {
  if (state_ == State::connecting) {
    connect_ended(socket_.error());
    return;
  }
  if ((events & EPOLLOUT) != 0) writable();
  if (state_ == State::connected && (events & ~std::uint32_t{EPOLLOUT}) != 0) read();
}

void Client::on_interest_refused(Errno error) { fail(fmt::format("epoll_ctl: {}", error)); }

// One read in each turn; epoll reports the rest again.
void Client::read() {
  const std::span<std::byte> room = worker_.receive_room();
  const auto count = socket_.receive(room);
  if (!count) {
    if (!(count.error() == EAGAIN)) fail(fmt::format("receive: {}", count.error()));
  } else if (*count == 0) {
    ended();
  } else {
    received(room.first(*count));
  }
}

bool Client::send(std::span<const std::byte> bytes, std::size_t& taken) {
  const auto sent = socket_.send(bytes);
  taken = sent ? *sent : 0;
  if (sent || sent.error() == EAGAIN) return true;
  fail(fmt::format("send: {}", sent.error()));
  return false;
}

void Client::fail(const std::string& kind) {
  const bool was_connected = state_ == State::connected;
  close();
  failed(kind, was_connected);
}

void Client::done() {
  if (!std::exchange(done_, true)) worker_.client_done();
}

void Client::close() {
  if (channel_) channel_->remove();  // not destroyed: it may be calling this function
  socket_.close();
  state_ = State::closed;
}

}  // namespace weir::load
