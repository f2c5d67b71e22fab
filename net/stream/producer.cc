#include "weir/net/stream/producer.h"

#include <new>
#include <utility>

#include "weir/base/check.h"
#include "weir/base/mutex.h"
#include "weir/net/reactor/internal/mailbox.h"
#include "weir/net/stream/internal/connection_group.h"
#include "weir/net/stream/internal/loop_buffers.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir {

namespace internal {

// The state that the producer's thread and the connection's loop share. Held by the Producer, by
// messages on their way, and by LoopIo while the connection lives. [any] unless marked.
class ProducerSide final : public ConnectionObserver {
 public:
  ProducerSide(ConnectionRef connection, std::uint64_t bound)
      : connection_(std::move(connection)), bound_(bound) {}

  Producer::Result reserve(std::uint64_t size) {
    const MutexLock lock(mutex_);
    if (ended_) return Producer::Result::ended;
    if (!fits(size)) {
      room_wanted_ = true;
      return Producer::Result::full;
    }
    in_flight_ += size;
    return Producer::Result::queued;
  }
  // Waits until a message of `size` may be reserved, or the connection has ended. False: the time
  // has passed.
  bool wait_for_room(std::uint64_t size, TimePoint end) {
    WEIR_CHECK(!connection_.mailbox_->belongs_to_this_thread(),
               "Producer::send waits on the thread of the connection's loop, inside another loop");
    MutexLock lock(mutex_);
    while (!may_continue(size)) {
      if (!changed_.wait_until(lock, end)) return may_continue(size);
    }
    return true;
  }

  // The connection returned `result` for a message. [loop]
  void arrived(std::uint64_t size, SendResult result) {
    MutexLock lock(mutex_);
    in_flight_ -= size;
    if (result == SendResult::above_high_mark) blocked_ = true;
    if (result == SendResult::dropped) ++dropped_;
    if (result == SendResult::closed) end();
    notify_change(lock);
  }
  // A message did not arrive, or the connection ended before it could be observed.
  void lost(std::uint64_t size) {
    MutexLock lock(mutex_);
    in_flight_ -= size;
    end();
    notify_change(lock);
  }
  // [loop]
  void on_drained(TcpConnection&) override {
    MutexLock lock(mutex_);
    blocked_ = false;
    notify_change(lock);
  }
  // [loop]
  void on_ended(TcpConnection&, CloseReason) override { lost(0); }

  void on_room(std::move_only_function<void()> fn) {
    const MutexLock lock(mutex_);
    on_room_ = std::make_shared<std::move_only_function<void()>>(std::move(fn));
  }
  void abandon() {
    const MutexLock lock(mutex_);
    on_room_.reset();
  }
  std::uint64_t in_flight() const {
    const MutexLock lock(mutex_);
    return in_flight_;
  }
  bool ended() const {
    const MutexLock lock(mutex_);
    return ended_;
  }
  std::uint64_t dropped() const {
    const MutexLock lock(mutex_);
    return dropped_;
  }

 private:
  // A message that is larger than the bound is accepted if no other is on its way.
  bool fits(std::uint64_t size) const WEIR_REQUIRES(mutex_) {
    return !blocked_ && (in_flight_ == 0 || in_flight_ + size <= bound_);
  }
  // Half of the bound, so that a thread is not woken for each message.
  bool has_room() const WEIR_REQUIRES(mutex_) { return !blocked_ && in_flight_ <= bound_ / 2; }

  bool may_continue(std::uint64_t size) const WEIR_REQUIRES(mutex_) {
    return ended_ || (has_room() && fits(size));
  }

  void end() WEIR_REQUIRES(mutex_) { room_wanted_ = !std::exchange(ended_, true) || room_wanted_; }

  // The function of on_room() is called in a task, because this may run inside a call of the
  // connection. The mutex may be unlocked when this throws or returns.
  void notify_change(MutexLock& lock) WEIR_UNCHECKED_LOCKS {
    if (!ended_ && !has_room()) return;
    changed_.notify_all();
    if (!on_room_ || !std::exchange(room_wanted_, false)) return;
    std::weak_ptr<std::move_only_function<void()>> fn = on_room_;
    lock.unlock();
    if (!connection_.mailbox_) return;
    try {
      connection_.mailbox_->post([fn = std::move(fn)] {
        if (const auto call = fn.lock()) (*call)();
      });
    } catch (const std::bad_alloc&) {
      lock.lock();
      room_wanted_ = true;  // the next change posts it
      throw;
    }
  }

  const ConnectionRef connection_;
  const std::uint64_t bound_;
  mutable Mutex mutex_;  // held for a moment only
  Condition changed_;
  std::uint64_t in_flight_ WEIR_GUARDED_BY(mutex_) = 0;
  std::uint64_t dropped_ WEIR_GUARDED_BY(mutex_) = 0;
  bool blocked_ WEIR_GUARDED_BY(mutex_) = false;  // above the high mark, until on_drained
  bool ended_ WEIR_GUARDED_BY(mutex_) = false;
  bool room_wanted_ WEIR_GUARDED_BY(mutex_) = false;  // on_room is to be called
  std::shared_ptr<std::move_only_function<void()>> on_room_ WEIR_GUARDED_BY(mutex_);
};

namespace {

// Belongs to a posted message, or to the posted request to observe the connection. If that does not
// reach the connection, the destructor reports it.
class Parcel {
 public:
  Parcel(std::shared_ptr<ProducerSide> side, std::uint64_t size)
      : side_(std::move(side)), size_(size) {}
  Parcel(Parcel&& other) noexcept = default;
  Parcel& operator=(Parcel&&) = delete;
  ~Parcel() {
    if (!side_) return;
    try {
      side_->lost(size_);
    } catch (const std::bad_alloc&) {
      return;  // on_room is not called: on_ended() or the next try_send() reports the end instead
    }
  }
  void arrived(SendResult result) { std::exchange(side_, nullptr)->arrived(size_, result); }
  std::shared_ptr<ProducerSide> take() { return std::exchange(side_, nullptr); }

 private:
  std::shared_ptr<ProducerSide> side_;
  std::uint64_t size_;
};

}  // namespace
}  // namespace internal

Producer::Producer(ConnectionRef connection, std::uint64_t bound)
    : connection_(std::move(connection)),
      side_(std::make_shared<internal::ProducerSide>(connection_, bound)) {
  connection_.post([watch = internal::Parcel(side_, 0)](TcpConnection& to) mutable {
    internal::ConnectionGroup::observe(to, watch.take());
  });
}

Producer::~Producer() {
  if (!side_) return;  // moved from
  side_->abandon();
  try {
    connection_.post([side = std::move(side_)](TcpConnection& from) {
      internal::ConnectionGroup::end_observation(from, side.get());
    });
  } catch (const std::bad_alloc&) {
    return;  // the observer stays until the connection ends, and has nothing to notify
  }
}

Producer::Result Producer::try_send(SharedBytes message) {
  if (message.empty()) return side_->ended() ? Result::ended : Result::queued;
  const Result reserved = side_->reserve(message.size());
  if (reserved != Result::queued) return reserved;
  internal::Parcel parcel(side_, message.size());
  const bool posted = connection_.post(
      [message = std::move(message), parcel = std::move(parcel)](TcpConnection& to) mutable {
        parcel.arrived(to.send(std::move(message)));
      });
  return posted ? Result::queued : Result::ended;
}

bool Producer::send(const SharedBytes& message, Duration at_most) {
  WEIR_CHECK(connection_.get() == nullptr,
             "Producer::send on the thread of the connection's loop, which would wait for itself");
  const TimePoint end = saturating_add(Clock::now(), at_most);
  for (;;) {
    const Result result = try_send(message);
    if (result != Result::full) return result == Result::queued;
    if (!side_->wait_for_room(message.size(), end)) return false;
  }
}

void Producer::on_room(std::move_only_function<void()> fn) { side_->on_room(std::move(fn)); }

std::uint64_t Producer::pending() const { return side_->in_flight(); }

bool Producer::ended() const { return side_->ended(); }

std::uint64_t Producer::dropped() const { return side_->dropped(); }

}  // namespace weir
