#include "load/udp_client.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "load/pattern.h"
#include "load/worker.h"
#include "weir/base/fmt.h"

namespace weir::load {

namespace {

// For our own sockets, so that no burst of answers is lost on our side.
constexpr int kReceiveBuffer = 4 * 1024 * 1024;

std::uint64_t read_number(std::span<const std::byte> bytes, std::size_t at) {
  std::uint64_t number = 0;
  std::memcpy(&number, &bytes[at], sizeof(number));
  return number;
}

}  // namespace

// Tells the datagrams of different runs and sockets apart.
std::uint64_t UdpClient::cookie() const {
  return static_cast<std::uint64_t>(::getpid()) << 32 ^ index_;
}

Errno UdpClient::connect() {
  const Settings& settings = worker_.settings();
  const TimePoint began = Clock::now();
  udp_.emplace(worker_.loop(), UdpSocket::Options{.segment = settings.segments,
                                                  .coalesce = settings.segments,
                                                  .receive_buffer = kReceiveBuffer,
                                                  .max_queued = 64 * 1024 * 1024});
  udp_->on_datagrams([this](UdpSocket&, std::span<const Datagram> batch) { come_back(batch); });
  udp_->on_send_failed([this](UdpSocket&, const FailedDatagram& failure) {
    worker_.count_error(fmt::format("send: {}", failure.error));
  });
  udp_->on_error([this](UdpSocket&, Errno error) { fail(fmt::format("receive: {}", error)); });
  if (const auto from = source()) {
    if (auto done = udp_->bind(*from); !done) {
      fail(done.error().message());
      return {};
    }
  }
  if (auto done = udp_->connect(settings.target); !done) {
    fail(done.error().message());
    return {};
  }
  connected_at_once(began);
  return {};
}

void UdpClient::close() {
  worker_.loop().cancel(timer_);
  while (!sent_.empty()) drop_first();
  udp_.reset();  // here, because it belongs to this thread
  Client::close();
}

void UdpClient::connected() { worker_.client_ready(); }

void UdpClient::failed(const std::string& kind, bool was_connected) {
  worker_.client_failed(kind, was_connected);
  done();
}

void UdpClient::begin(std::uint64_t quota) {
  sending_ = true;
  if (is_connected()) {
    timer_ = worker_.loop().run_every(worker_.settings().timeout / 8, [this] { expire_lost(); });
  }
  set_quota(quota);
}

void UdpClient::set_quota(std::uint64_t quota) {
  quota_ = quota;
  if (!worker_.settings().open_loop()) fill_up();
  check_done();
}

void UdpClient::request(TimePoint scheduled) {
  if (quota_ == 0 || !sending_) return;
  if (!is_connected()) {
    worker_.count_error("not sent: the socket is gone");
  } else if (sent_.in_flight() == kMostAwaited) {
    worker_.count_error("not sent: a million datagrams wait for their answer");
  } else if (send_one(scheduled)) {
    return;
  }
  if (quota_ != kNoQuota) --quota_;
  check_done();
}

void UdpClient::finish() {
  sending_ = false;
  check_done();
}

void UdpClient::check_done() {
  if (sent_.in_flight() == 0 && (!sending_ || quota_ == 0)) done();
}

void UdpClient::fill_up() {
  if (!is_connected() || !sending_ || quota_ == 0 ||
      sent_.in_flight() >= worker_.settings().depth) {
    return;
  }
  const TimePoint now = Clock::now();
  while (quota_ > 0 && sent_.in_flight() < worker_.settings().depth && send_one(now)) {
  }
}

// False: the queue of the socket is full.
bool UdpClient::send_one(TimePoint when) {
  const Settings& settings = worker_.settings();
  const auto bytes = worker_.send_room().first(settings.size);
  const std::uint64_t owner = cookie();
  std::memcpy(bytes.data(), &owner, sizeof(owner));
  const std::uint64_t number = sent_.next();
  std::memcpy(&bytes[sizeof(owner)], &number, sizeof(number));
  if (settings.verify) {
    fill_pattern(index_, number * settings.size, bytes.subspan(kShortestDatagram));
  }
  if (udp_->send(bytes) != DatagramResult::queued) {
    worker_.count_error("not sent: the socket takes nothing");
    return false;
  }
  if (sent_.full()) drop_first();
  sent_.push(when);
  if (quota_ != kNoQuota) --quota_;
  worker_.message_sent(when);
  return true;
}

// The datagrams that are sent here leave with one system call, after the function has returned.
void UdpClient::come_back(std::span<const Datagram> batch) {
  const TimePoint now = Clock::now();
  for (const Datagram& in : batch) take(in, now);
  if (!worker_.settings().open_loop()) fill_up();
  check_done();
}

void UdpClient::take(const Datagram& in, TimePoint now) {
  if (in.payload.size() != worker_.settings().size || in.truncated ||
      read_number(in.payload, 0) != cookie()) {
    worker_.count_error("a datagram came back that was not sent");
    return;
  }
  const std::uint64_t number = read_number(in.payload, sizeof(std::uint64_t));
  if (number >= sent_.next()) {
    worker_.count_error("a datagram came back that was not sent");
    return;
  }
  const auto begun = sent_.take(number);
  if (!begun) {
    worker_.datagram_again();  // it was counted as lost, or has come back before
    return;
  }
  if (number < highest_) worker_.datagram_reordered(*begun);
  highest_ = std::max(highest_, number + 1);
  if (worker_.settings().verify && !is_ours(in.payload, number)) {
    worker_.count_error("other bytes came back than were sent");
  } else {
    worker_.message_done(*begun, now);
  }
}

bool UdpClient::is_ours(std::span<const std::byte> bytes, std::uint64_t number) {
  const auto at = find_difference(index_, number * bytes.size(), bytes.subspan(kShortestDatagram));
  if (!at) return true;
  worker_.note_difference(
      fmt::format("socket {}, byte {} of datagram {}", index_, kShortestDatagram + *at, number));
  return false;
}

void UdpClient::drop_first() {
  worker_.datagram_lost(sent_.oldest().value());
  sent_.drop_first();
}

void UdpClient::expire_lost() {
  const TimePoint limit = Clock::now() - worker_.settings().timeout;
  while (!sent_.empty() && sent_.oldest().value() <= limit) drop_first();
  if (!worker_.settings().open_loop()) fill_up();
  check_done();
}

}  // namespace weir::load
