#include "load/echo_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "load/pattern.h"
#include "load/worker.h"

namespace weir::load {

namespace {

// Open loop: bounds the memory if the server does not answer.
constexpr std::size_t kMostInFlight = std::size_t{1} << 20;

}  // namespace

void EchoClient::connected() { worker_.client_ready(); }

void EchoClient::failed(const std::string& kind, bool was_connected) {
  in_flight_.clear();
  unsent_ = 0;
  worker_.client_failed(kind, was_connected);
  done();
}

void EchoClient::begin(std::uint64_t quota) {
  sending_ = true;
  set_quota(quota);
}

void EchoClient::set_quota(std::uint64_t quota) {
  quota_ = quota;
  if (!worker_.settings().open_loop()) fill_up();
  check_done();
}

void EchoClient::request(TimePoint scheduled) {
  if (quota_ == 0 || !sending_) return;
  if (!is_connected()) {
    worker_.count_error("not sent: the connection is gone");
  } else if (in_flight_.size() == kMostInFlight) {
    worker_.count_error("not sent: a million messages wait for their answer");
  } else {
    start_message(scheduled);
    write();
    return;
  }
  --quota_;
  check_done();
}

void EchoClient::finish() {
  sending_ = false;
  check_done();
}

void EchoClient::check_done() {
  if (in_flight_.empty() && (!sending_ || quota_ == 0)) done();
}

void EchoClient::start_message(TimePoint when) {
  if (quota_ != kNoQuota) --quota_;
  in_flight_.push(when);
  unsent_ += worker_.settings().size;
  worker_.message_sent(when);
}

void EchoClient::fill_up() {
  if (!is_connected()) return;
  if (sending_ && quota_ > 0 && in_flight_.size() < worker_.settings().depth) {
    const TimePoint now = Clock::now();
    while (quota_ > 0 && in_flight_.size() < worker_.settings().depth) start_message(now);
  }
  write();
}

void EchoClient::write() {
  while (unsent_ > 0) {
    const std::span<std::byte> room = worker_.send_room();
    const auto bytes = room.first(std::min<std::uint64_t>(unsent_, room.size()));
    if (worker_.settings().verify) fill_pattern(index_, sent_, bytes);
    std::size_t taken = 0;
    if (!send(bytes, taken)) return;
    unsent_ -= taken;
    sent_ += taken;
    if (taken < bytes.size()) break;
  }
  channel_->set_writing(unsent_ > 0);
}

void EchoClient::received(std::span<const std::byte> bytes) {
  if (bytes.size() > sent_ - received_) {
    fail("more bytes came back than were sent");
    return;
  }
  const TimePoint now = Clock::now();
  const std::size_t size = worker_.settings().size;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), size - part_));
    if (worker_.settings().verify) check_bytes(piece);
    bytes = bytes.subspan(piece.size());
    received_ += piece.size();
    part_ += piece.size();
    if (part_ == size) message_is_back(now);
  }
  if (!worker_.settings().open_loop()) fill_up();
  if (is_connected()) check_done();
}

void EchoClient::check_bytes(std::span<const std::byte> bytes) {
  const auto at = find_difference(index_, received_, bytes);
  if (!at) return;
  wrong_ = true;
  worker_.note_difference(fmt::format("connection {}, byte {} (of message {})", index_,
                                      received_ + *at,
                                      (received_ + *at) / worker_.settings().size));
}

void EchoClient::message_is_back(TimePoint now) {
  if (std::exchange(wrong_, false)) {
    worker_.count_error("other bytes came back than were sent");
  } else {
    worker_.message_done(in_flight_.front(), now);
  }
  in_flight_.pop();
  part_ = 0;
}

}  // namespace weir::load
