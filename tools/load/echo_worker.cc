#include "load/echo_worker.h"

#include <cerrno>
#include <utility>

namespace weir::load {

namespace {

// Connects under way at a time: less than a listener's queue holds, so that no SYN is dropped and
// repeated a second later.
constexpr std::size_t kMaxConnecting = 256;
// Until a Unix listener with a full queue is asked again.
constexpr Duration kRetry = std::chrono::milliseconds(5);
constexpr std::size_t kReceiveRoom = 256 * 1024;

}  // namespace

EchoWorker::EchoWorker(EventLoop& loop, const EchoSettings& settings, const Pattern& pattern,
                       std::size_t first, std::size_t step, Listener listener)
    : loop_(loop),
      settings_(settings),
      pattern_(pattern),
      listener_(std::move(listener)),
      receive_room_(kReceiveRoom) {
  for (std::size_t i = first; i < settings.connections; i += step) {
    clients_.push_back(std::make_unique<EchoClient>(*this, i));
  }
}

// --- connecting ----------------------------------------------------------------------------------

void EchoWorker::connect() { connect_more(); }

void EchoWorker::connect_more() {
  while (next_ < clients_.size() && connecting_ < kMaxConnecting && !finishing_) {
    EchoClient& client = *clients_[next_];
    ++connecting_;
    if (client.connect() == EAGAIN) {
      --connecting_;
      if (!std::exchange(retry_set_, true)) {
        loop_.run_after(kRetry, [this] {
          retry_set_ = false;
          connect_more();
        });
      }
      return;
    }
    ++next_;
  }
  if (connecting_ == 0 && (next_ == clients_.size() || finishing_) &&
      !std::exchange(connected_told_, true)) {
    listener_.on_connected();
  }
}

// Not from here to connect_more() directly: a connect may end inside of it.
void EchoWorker::connect_settled() {
  --connecting_;
  loop_.post([this] { connect_more(); });
}

void EchoWorker::client_connected() {
  ++alive_;
  ++numbers_.connected;
  connect_settled();
}

void EchoWorker::client_failed(std::string kind, bool was_connected, bool was_waiting) {
  ++numbers_.errors[std::move(kind)];
  if (was_connected) {
    --alive_;
    if (finishing_ && was_waiting) --unanswered_;
    check_done();
  } else {
    connect_settled();
  }
}

// --- the run -------------------------------------------------------------------------------------

void EchoWorker::begin() {
  begun_ = true;
  for (const auto& client : clients_) {
    if (client->connected()) client->begin();
  }
  check_done();
}

void EchoWorker::client_rests() {
  --unanswered_;
  check_done();
}

void EchoWorker::message_done(Duration latency) {
  ++numbers_.messages;
  numbers_.latency.record(static_cast<std::uint64_t>(latency.count()));
  last_message_ = loop_.now();
}

void EchoWorker::finish() {
  finishing_ = true;
  for (const auto& client : clients_) {
    client->finish();
    if (client->in_flight() > 0) ++unanswered_;
  }
  if (!begun_) connect_more();
  check_done();
}

void EchoWorker::abandon() {
  for (const auto& client : clients_) {
    if (client->connecting()) {
      ++numbers_.errors["connect: no answer in time"];
    } else if (client->in_flight() > 0) {
      ++numbers_.errors["no answer in time"];
    }
    client->close();
  }
  alive_ = 0;
  if (!std::exchange(done_told_, true)) listener_.on_done();
}

void EchoWorker::check_done() {
  if (!begun_ && !finishing_) return;
  if (finishing_ ? unanswered_ > 0 : alive_ > 0) return;
  if (!std::exchange(done_told_, true)) listener_.on_done();
}

void EchoWorker::close() {
  for (const auto& client : clients_) client->close();
}

Numbers EchoWorker::take_numbers() { return std::exchange(numbers_, Numbers()); }

}  // namespace weir::load
