#include "weir/net/route/broadcast.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "weir/base/check.h"
#include "weir/base/counter.h"
#include "weir/base/log_line.h"
#include "weir/base/metrics.h"
#include "weir/base/mutex.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir {

namespace internal {

// Queued output of this size is flushed immediately. Otherwise each member would hold all messages
// of the turn. This size fits the first block of an OutputQueue.
constexpr std::uint64_t kWriteAtOnce = 3 * 1024;

using DeliveryReport = std::function<void(const Broadcast::Delivery&)>;

// The members on one loop. Kept alive by the Broadcast, by posted tasks, and by LoopIo::observers
// while it has a member. [loop] unless marked.
class BroadcastPart final : public ConnectionObserver {
 public:
  BroadcastPart(EventLoop& loop, SlowPolicy slow, std::shared_ptr<const DeliveryReport> report)
      : mailbox(internal::core_of(loop).mailbox()), slow_(slow), report_(std::move(report)) {}

  // The connection does not get messages with a number up to `sent`.
  void join(TcpConnection& connection, std::uint64_t sent,
            const std::shared_ptr<BroadcastPart>& self);
  void leave(TcpConnection& connection);
  void deliver(const SharedBytes& message, std::uint64_t number, const ConnectionRef& except);
  void report(const Broadcast::Delivery& delivery) const;
  void disband();

  const std::shared_ptr<Mailbox> mailbox;
  // The number of the last message that was posted, or is about to be. [any]
  std::atomic<std::uint64_t> newest{0};
  // [any] to read.
  Counter members, delivered, skipped, dropped, closed;
  Broadcast::Stats stats() const {
    return {.members = members.value(),
            .delivered = delivered.value(),
            .skipped = skipped.value(),
            .dropped = dropped.value(),
            .closed = closed.value()};
  }

 private:
  struct Member {
    TcpConnection* connection;  // valid: on_ended removes the member before it is freed
    std::uint64_t sent_before;  // number of the last message before it joined
    SharedBytes latest;         // SlowPolicy::latest_only: the message to send when it has drained
  };

  void on_drained(TcpConnection& connection) override;
  void on_ended(TcpConnection& connection, CloseReason) override { remove(connection); }
  bool remove(TcpConnection& connection);
  static void write_now(Connection& connection);
  static bool is_slow(Connection& connection);
  void send_to(Member& member, const SharedBytes& message, bool more_to_come);
  void apply_policy(Member& member, const SharedBytes& message);
  void note_left_out(const Member& member);

  const SlowPolicy slow_;
  const std::shared_ptr<const DeliveryReport> report_;  // null: not wanted
  std::vector<ConnectionRef> left_out_;                 // of the message that is being delivered
  bool reporting_ = false;
  std::vector<Member> list_;
  std::unordered_map<const TcpConnection*, std::size_t> places_;  // in list_
};

void BroadcastPart::join(TcpConnection& connection, std::uint64_t sent,
                         const std::shared_ptr<BroadcastPart>& self) {
  if (connection.state() == TcpConnection::State::closed || places_.contains(&connection)) return;
  if (list_.size() == list_.capacity()) list_.reserve(2 * list_.capacity() + 8);
  const auto place = places_.emplace(&connection, list_.size()).first;
  try {
    ConnectionGroup::observe(connection, self);
  } catch (...) {
    places_.erase(place);
    throw;
  }
  list_.push_back({.connection = &connection, .sent_before = sent, .latest = {}});
  members.set(list_.size());
}

void BroadcastPart::leave(TcpConnection& connection) {
  if (remove(connection)) ConnectionGroup::end_observation(connection, this);
}

bool BroadcastPart::remove(TcpConnection& connection) {
  const auto entry = places_.find(&connection);
  if (entry == places_.end()) return false;
  const std::size_t place = entry->second;
  places_.erase(entry);
  if (place + 1 < list_.size()) {  // moves the last member here
    list_[place] = std::move(list_.back());
    places_.find(list_[place].connection)->second = place;
  }
  list_.pop_back();
  members.set(list_.size());
  return true;
}

void BroadcastPart::disband() {
  for (const Member& member : std::exchange(list_, {})) {
    ConnectionGroup::end_observation(*member.connection, this);
  }
  places_.clear();
  members.set(0);
}

// The list does not change in the loop: no send() calls a handler, and connections are freed only
// in the reap phase.
void BroadcastPart::deliver(const SharedBytes& message, std::uint64_t number,
                            const ConnectionRef& except) {
  const TcpConnection* excepted = except.get();
  const bool more_to_come = newest.load(std::memory_order_relaxed) != number;
  const std::uint64_t delivered_before = delivered.value();
  const std::uint64_t closed_before = closed.value();
  reporting_ = report_ != nullptr;
  for (Member& member : list_) {
    if (member.connection == excepted || number <= member.sent_before) continue;
    send_to(member, message, more_to_come);
  }
  if (!std::exchange(reporting_, false)) return;
  const std::vector<ConnectionRef> left_out = std::exchange(left_out_, {});
  report({.message = number,
          .queued = delivered.value() - delivered_before,
          .closed = closed.value() - closed_before,
          .left_out = left_out});
}

// Runs in a task, so an exception would leave EventLoop::run() or end the program.
void BroadcastPart::report(const Broadcast::Delivery& delivery) const {
  try {
    (*report_)(delivery);
  } catch (const std::exception& thrown) {
    WEIR_LOG_LIMITED(error, 10, "on_delivery of a Broadcast threw: {}", thrown.what());
  } catch (...) {
    WEIR_LOG_LIMITED(error, 10,
                     "on_delivery of a Broadcast threw something that is no std::exception");
  }
}

void BroadcastPart::note_left_out(const Member& member) {
  ++skipped;
  if (reporting_) left_out_.push_back(member.connection->ref());
}

void BroadcastPart::write_now(Connection& connection) {
  if (connection.want_write()) return;  // the socket is full
  connection.without_throwing([&connection] { connection.flush_output(); });
}

// A member is slow only if its socket takes no more, so the queue is offered to the socket first.
// (One turn may bring many messages.)
bool BroadcastPart::is_slow(Connection& connection) {
  if (!connection.under_pressure() || !connection.accepts_output()) return false;
  write_now(connection);
  if (!connection.accepts_output() || connection.below_low_mark()) return false;
  // If the socket is not full, only the limit of bytes per turn has stopped the flush. Then the
  // member is not slow until half of max_output is reached.
  return connection.want_write() ||
         connection.pending_output() > connection.group().limits.max_output / 2;
}

// A single message is written at once, so that each member is visited once and needs no queue. If
// more messages follow, it is queued, to leave together with them.
void BroadcastPart::send_to(Member& member, const SharedBytes& message, bool more_to_come) {
  Connection& connection = machine_of(*member.connection);
  try {
    if (is_slow(connection)) {
      apply_policy(member, message);
      return;
    }
    if (!member.latest.empty()) {  // has drained, but on_drained() was not called yet
      note_left_out(member);
      member.latest = {};
    }
    const auto written = more_to_come ? std::nullopt : connection.send_past_queue(message);
    const SendResult result = written ? *written : connection.send(message);
    if (result == SendResult::queued || result == SendResult::above_high_mark) {
      ++delivered;
      if (connection.pending_output() >= kWriteAtOnce) write_now(connection);
    } else if (result == SendResult::dropped) {
      ++dropped;
      note_left_out(member);
    }
  } catch (const std::bad_alloc&) {  // resets this member, and not those behind it
    connection.reset({CloseReason::Kind::io_error, Errno(ENOMEM)});
  }
}

void BroadcastPart::apply_policy(Member& member, const SharedBytes& message) {
  switch (slow_) {
    case SlowPolicy::skip:
      note_left_out(member);
      break;
    case SlowPolicy::latest_only:
      if (!member.latest.empty()) note_left_out(member);
      member.latest = message;
      break;
    case SlowPolicy::close:
      ++closed;
      machine_of(*member.connection).reset({CloseReason::Kind::output_overflow, Errno(ENOBUFS)});
      break;
  }
}

void BroadcastPart::on_drained(TcpConnection& connection) {
  const auto entry = places_.find(&connection);
  if (entry == places_.end()) return;
  Member& member = list_[entry->second];
  if (!member.latest.empty()) send_to(member, std::exchange(member.latest, {}), false);
}

}  // namespace internal

using internal::BroadcastPart;

struct Broadcast::Shared {
  explicit Shared(SlowPolicy policy) : slow(policy) {}

  // Null: the loop of `mailbox` has no part.
  std::shared_ptr<BroadcastPart> part_of(const internal::Mailbox* mailbox) const
      WEIR_REQUIRES(mutex) {
    for (const auto& part : parts) {
      if (part->mailbox.get() == mailbox) return part;
    }
    return nullptr;
  }

  // Removes parts without members, because their loops may have ended.
  void forget_empty_parts() WEIR_REQUIRES(mutex) {
    std::erase_if(parts, [this](const auto& part) WEIR_REQUIRES(mutex) {
      if (part->members.value() > 0) return false;
      add_metrics(forgotten, part->stats());
      return true;
    });
  }

  const SlowPolicy slow;
  internal::Mutex mutex;
  std::shared_ptr<const internal::DeliveryReport> report WEIR_GUARDED_BY(mutex);
  std::uint64_t sent WEIR_GUARDED_BY(mutex) = 0;  // messages, in total
  Stats forgotten WEIR_GUARDED_BY(mutex);         // the sum of parts that were removed
  std::vector<std::shared_ptr<BroadcastPart>> parts WEIR_GUARDED_BY(mutex);  // one per loop
};

Broadcast::Broadcast(SlowPolicy slow) : shared_(std::make_unique<Shared>(slow)) {}

Broadcast::~Broadcast() {
  for (const auto& part : shared_->parts) {
    if (part->members.value() == 0) continue;
    try {
      part->mailbox->post([part] { part->disband(); });
    } catch (const std::bad_alloc&) {
      continue;  // harmless: its members get no more messages, and leave it when they end
    }
  }
}

void Broadcast::on_delivery(std::function<void(const Delivery&)> fn) {
  const internal::MutexLock lock(shared_->mutex);
  WEIR_CHECK(shared_->parts.empty(), "Broadcast::on_delivery must be set before the first join()");
  shared_->report = std::make_shared<const internal::DeliveryReport>(std::move(fn));
}

void Broadcast::join(TcpConnection& connection) {
  internal::core_of(connection.loop()).check_thread("Broadcast::join");
  const auto& mailbox = internal::core_of(connection.loop()).mailbox();
  const internal::MutexLock lock(shared_->mutex);
  std::shared_ptr<BroadcastPart> part = shared_->part_of(mailbox.get());
  if (!part) {
    shared_->forget_empty_parts();
    part = std::make_shared<BroadcastPart>(connection.loop(), shared_->slow, shared_->report);
    shared_->parts.push_back(part);
  }
  part->join(connection, shared_->sent, part);
}

void Broadcast::leave(TcpConnection& connection) {
  internal::core_of(connection.loop()).check_thread("Broadcast::leave");
  const internal::MutexLock lock(shared_->mutex);
  const auto part = shared_->part_of(internal::core_of(connection.loop()).mailbox().get());
  if (part) part->leave(connection);
}

// Posts while it holds the mutex, so that all loops get the messages of all threads in one order. A
// post locks the mailbox for a moment only, and runs nothing.
std::uint64_t Broadcast::send(const SharedBytes& message, const ConnectionRef& except) {
  if (message.empty()) return 0;
  const internal::MutexLock lock(shared_->mutex);
  const std::uint64_t number = ++shared_->sent;
  for (const auto& part : shared_->parts) {
    if (part->members.value() == 0) continue;
    part->newest.store(number, std::memory_order_relaxed);
    part->mailbox->post(
        [part, message, number, except] { part->deliver(message, number, except); });
  }
  return number;
}

MetricList<Broadcast::Stats> Broadcast::Stats::metrics() {
  using internal::metric;
  using enum MetricKind;
  static constexpr std::array kMetrics{
      metric<&Stats::members>(gauge, "members", "", "Connections that have joined."),
      metric<&Stats::delivered>(counter, "delivered", "", "Messages queued for a member."),
      metric<&Stats::skipped>(counter, "skipped", "",
                              "Messages not sent to a member, or replaced by a newer one."),
      metric<&Stats::dropped>(counter, "dropped", "",
                              "Of the skipped: refused by max_output or the budget."),
      metric<&Stats::closed>(counter, "closed", "", "Members reset because they were slow."),
  };
  static_assert(internal::covers_all<Stats>(kMetrics));
  return kMetrics;
}

Broadcast::Stats Broadcast::stats() const {
  const internal::MutexLock lock(shared_->mutex);
  Stats sum = shared_->forgotten;
  for (const auto& part : shared_->parts) add_metrics(sum, part->stats());
  return sum;
}

}  // namespace weir
