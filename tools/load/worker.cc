#include "load/worker.h"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <utility>

#include "load/pattern.h"

namespace weir::load {

namespace {

// The maximum number of connects at a time: less than the queue of a listener holds, so that no SYN
// is dropped and retransmitted a second later.
constexpr std::size_t kMaxConnecting = 256;
// The pause before a retry, if the queue of a Unix listener is full.
constexpr Duration kRetry = std::chrono::milliseconds(5);
// The maximum number of scheduled messages sent in one turn of the loop.
constexpr int kSendsATurn = 256;

Duration thread_cpu() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + Duration(used.tv_nsec);
}

// /proc/PID/schedstat: time on a core, time ready without a core (both ns), number of time slices.
std::optional<Duration> thread_queued() {
  std::ifstream file("/proc/thread-self/schedstat");
  Duration::rep running = 0;
  Duration::rep queued = 0;
  file >> running >> queued;
  if (!file) return std::nullopt;
  return Duration(queued);
}

std::uint64_t nanoseconds(Duration d) {
  return static_cast<std::uint64_t>(std::max(d, Duration::zero()).count());
}

}  // namespace

Worker::Worker(EventLoop& loop, const Settings& settings, std::size_t first, std::size_t step,
               const MakeClient& make, Listener listener)
    : loop_(loop),
      settings_(settings),
      first_(first),
      step_(step),
      listener_(std::move(listener)),
      spare_sources_(*SourceNetwork::parse("127.77.0.0/16")),
      receive_room_(internal::make_aligned_bytes(kReceiveRoom)),
      send_room_(internal::make_aligned_bytes(kSendRoom)) {
  for (std::size_t i = first; i < settings.sockets(); i += step) {
    clients_.push_back(make(*this, i));
  }
  not_done_ = clients_.size();
  fill_pattern(first, 0, send_room());
}

// --- connecting ----------------------------------------------------------------------------------

void Worker::connect() { connect_more(); }

void Worker::connect_more() {
  while (next_ < clients_.size() && connecting_ < kMaxConnecting && !finishing_) {
    Client& client = *clients_[next_];
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
      !std::exchange(ready_reported_, true)) {
    listener_.on_ready();
  }
}

// Does not call connect_more() directly, because a connect may end inside connect_more().
void Worker::connect_settled() {
  --connecting_;
  loop_.post([this] { connect_more(); });
}

void Worker::client_ready() { connect_settled(); }

void Worker::client_failed(const std::string& kind, bool was_ready) {
  count_error(kind);
  if (!was_ready) connect_settled();
}

// --- the run -------------------------------------------------------------------------------------

std::uint64_t Worker::quota_of(const Client& client) const {
  if (settings_.mode == Mode::idle) return 1;
  if (settings_.messages == 0) return kNoQuota;
  if (settings_.one_to_many()) return client.index() == 0 ? settings_.messages : 0;
  const std::uint64_t share = settings_.messages / settings_.connections;
  return share + (client.index() < settings_.messages % settings_.connections ? 1 : 0);
}

void Worker::begin(TimePoint when, bool measured) {
  begun_ = true;
  began_ = when;
  if (measured) {
    measure_from_ = when;
    note_usage_begin(Clock::now());
  }
  for (const auto& client : clients_) client->begin(measured ? quota_of(*client) : kNoQuota);
  if (has_schedule()) send_due();
  check_done();
}

// Messages sent from now on are measured, also those that were due earlier.
void Worker::measure() {
  if (finishing_ || done_reported_) return;
  const TimePoint now = Clock::now();
  measure_from_ = has_schedule() ? std::min(now, next_due()) : now;
  note_usage_begin(now);
  for (const auto& client : clients_) client->set_quota(quota_of(*client));
}

void Worker::message_sent(TimePoint begun) {
  if (measured(begun)) ++numbers_.sent;
}

void Worker::message_done(TimePoint begun, TimePoint now, bool measured) {
  if (!measured) {
    ++numbers_.warmup_messages;
    return;
  }
  ++numbers_.messages;
  numbers_.latency.record(nanoseconds(now - begun));
  numbers_.last_message = now;
}

void Worker::count_connected(Duration took) {
  ++numbers_.connected;
  numbers_.connect_latency.record(nanoseconds(took));
}

void Worker::count_error(const std::string& kind, std::uint64_t times) {
  numbers_.errors[kind] += times;
}

void Worker::note_difference(std::string where) {
  if (numbers_.first_difference.empty()) numbers_.first_difference = std::move(where);
}

void Worker::client_done() {
  --not_done_;
  check_done();
}

void Worker::finish() {
  finishing_ = true;
  for (const auto& client : clients_) client->finish();
  if (!begun_) connect_more();
  check_done();
}

void Worker::abandon() {
  for (const auto& client : clients_) {
    if (client->is_connecting() && !begun_) {
      count_error("connect: no answer in time");
    } else if (client->is_idle() && !begun_ && !finishing_) {
      count_error(retry_set_ ? "connect: the server's queue stayed full (EAGAIN)"
                             : "connect: others took all the time");
    } else if (const std::uint64_t lost = client->unanswered(); lost > 0) {
      count_error(client->unanswered_kind(), lost);
    }
    client->close();
  }
  next_ = clients_.size();  // nor does a retry connect any more
  ready_reported_ = true;
  not_done_ = 0;
  check_done();
}

void Worker::check_done() {
  if (not_done_ > 0 || std::exchange(done_reported_, true)) return;
  note_usage_end();
  listener_.on_done();
}

void Worker::close() {
  for (const auto& client : clients_) client->close();
  note_usage_end();
}

Numbers Worker::take_numbers() { return std::exchange(numbers_, Numbers()); }

// --- the schedule --------------------------------------------------------------------------------

bool Worker::has_schedule() const {
  return settings_.open_loop() && (!settings_.one_to_many() || first_ == 0);
}

TimePoint Worker::next_due() const {
  const std::uint64_t number =
      settings_.one_to_many() ? due_round_
                              : due_round_ * settings_.connections + first_ + due_client_ * step_;
  return began_ + std::chrono::duration_cast<Duration>(
                      std::chrono::duration<double>(static_cast<double>(number) / settings_.rate));
}

// The lateness is that of this function. If a socket takes no bytes, that is due to the server.
void Worker::send_due() {
  for (int sent = 0; !finishing_ && !done_reported_; ++sent) {
    const TimePoint due = next_due();
    const TimePoint now = Clock::now();
    if (due > now) {
      loop_.run_at(due, [this] { send_due(); });
      return;
    }
    if (sent == kSendsATurn) {
      loop_.post([this] { send_due(); });
      return;
    }
    if (measured(due)) numbers_.lateness.record(nanoseconds(now - due));
    clients_[due_client_]->request(due);
    if (++due_client_ == clients_.size() || settings_.one_to_many()) {
      due_client_ = 0;
      ++due_round_;
    }
  }
}

// --- our own cost --------------------------------------------------------------------------------

void Worker::note_usage_begin(TimePoint when) {
  usage_open_ = true;
  usage_from_ = when;
  numbers_.measured_from = measure_from_;
  cpu_from_ = thread_cpu();
  queued_from_ = thread_queued();
  busy_from_ = loop_.stats().busy;
}

void Worker::note_usage_end() {
  if (!std::exchange(usage_open_, false)) return;
  auto queued = thread_queued();
  if (queued && queued_from_) *queued -= *queued_from_;
  numbers_.threads.push_back({.elapsed = Clock::now() - usage_from_,
                              .cpu = thread_cpu() - cpu_from_,
                              .queued = queued,
                              .busy = loop_.stats().busy - busy_from_});
}

}  // namespace weir::load
