#include "load/churn_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "load/pattern.h"
#include "load/worker.h"

namespace weir::load {

namespace {

// The pause after a failed connect, so that a server that refuses, or a lack of ports, does not
// cause a million attempts.
constexpr Duration kAfterFailure = std::chrono::milliseconds(10);
// The pause before a retry, if the queue of a Unix listener is full.
constexpr Duration kRetry = std::chrono::milliseconds(1);
constexpr std::size_t kMostWaiting = std::size_t{1} << 20;

}  // namespace

bool ChurnClient::server_closes() const {
  const Closing closes = worker_.settings().closes;
  return closes == Closing::half || closes == Closing::server;
}

bool ChurnClient::whole_answer() const { return received_ == worker_.settings().size; }

std::string ChurnClient::unanswered_kind() const {
  return whole_answer() ? "not closed by the server in time" : Client::unanswered_kind();
}

void ChurnClient::begin(std::uint64_t quota) {
  sending_ = true;
  set_quota(quota);
}

void ChurnClient::set_quota(std::uint64_t quota) {
  quota_ = quota;
  if (!busy_) next();
}

void ChurnClient::request(TimePoint scheduled) {
  if (quota_ == 0 || !sending_) return;
  if (quota_ != kNoQuota) --quota_;
  if (waiting_.size() == kMostWaiting) {
    worker_.count_error("not connected: a million exchanges wait for their turn");
    return;
  }
  waiting_.push(scheduled);
  worker_.message_sent(scheduled);
  if (!busy_) next();
}

void ChurnClient::finish() {
  sending_ = false;
  if (!busy_) next();
}

void ChurnClient::next() {
  busy_ = false;
  const bool closed_loop = !worker_.settings().open_loop();
  if (waiting_.empty() && closed_loop && sending_ && quota_ > 0) {
    if (quota_ != kNoQuota) --quota_;
    waiting_.push(Clock::now());
    worker_.message_sent(waiting_.front());
  }
  if (waiting_.empty()) {
    if (!sending_ || quota_ == 0) done();
    return;
  }
  busy_ = true;
  wrong_ = false;
  sent_ = received_ = 0;
  if (connect() == EAGAIN) next_after(kRetry);
}

void ChurnClient::next_after(Duration delay) {
  if (delay > Duration::zero()) {
    worker_.loop().run_after(delay, [this] { next(); });
  } else {
    worker_.loop().post([this] { next(); });  // not inside on_ready() of the old connection
  }
}

void ChurnClient::connected() { write(); }

void ChurnClient::write() {
  const std::size_t size = worker_.settings().size;
  while (sent_ < size) {
    const std::span<std::byte> room = worker_.send_room();
    const auto bytes = room.first(std::min(size - sent_, room.size()));
    if (worker_.settings().verify) fill_pattern(index_, sent_, bytes);
    std::size_t taken = 0;
    if (!send(bytes, taken)) return;
    sent_ += taken;
    if (taken < bytes.size()) break;
  }
  channel_->set_writing(sent_ < size);
  if (sent_ == size && worker_.settings().closes == Closing::half) {
    static_cast<void>(socket_.shutdown(Socket::How::write));
  }
}

void ChurnClient::received(std::span<const std::byte> bytes) {
  if (bytes.size() > sent_ - received_) {
    fail("more bytes came back than were sent");
    return;
  }
  if (worker_.settings().verify) {
    if (const auto at = find_difference(index_, received_, bytes)) {
      wrong_ = true;
      worker_.note_difference(
          fmt::format("connection {}, byte {} of its message", index_, received_ + *at));
    }
  }
  received_ += bytes.size();
  if (whole_answer() && !server_closes()) exchange_done();
}

void ChurnClient::ended() {
  if (whole_answer() && server_closes()) {
    exchange_done();
  } else {
    fail("closed by the server");
  }
}

void ChurnClient::exchange_done() {
  const TimePoint now = Clock::now();
  if (worker_.settings().closes == Closing::reset) {
    static_cast<void>(socket_.set_linger(std::chrono::seconds(0)));
  }
  close();
  if (wrong_) {
    worker_.count_error("other bytes came back than were sent");
  } else {
    worker_.message_done(waiting_.front(), now);
  }
  waiting_.pop();
  next_after(Duration::zero());
}

void ChurnClient::failed(const std::string& kind, bool was_connected) {
  worker_.count_error(kind);
  waiting_.pop();
  next_after(was_connected ? Duration::zero() : kAfterFailure);
}

}  // namespace weir::load
