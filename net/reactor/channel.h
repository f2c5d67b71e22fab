// Channel: one file descriptor watched by one EventLoop. [loop]
//
// The Channel does not own the descriptor. Remove (or destroy) the Channel before closing it.
//
// Interest is a cache: the setters note what is wanted, and the loop commits the difference with
// one epoll_ctl(2) before it next waits, so on-and-off inside a turn costs nothing. No interest at
// all means that the descriptor is taken out of epoll, because EPOLLERR and EPOLLHUP cannot be
// masked; watch_errors() keeps it there for these two.
#pragma once

#include "weir/base/requirements.h"

#include <cstdint>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/base/slot_id.h"

namespace WEIR_EXPORT weir {

class EventLoop;

}  // namespace weir

namespace weir::internal {
class EpollPoller;
class LoopCore;
}  // namespace weir::internal

namespace WEIR_EXPORT weir {

// Level: reported as long as it is ready. Edge: reported when it becomes ready; read or write until
// EAGAIN (epoll(7)).
enum class Trigger : std::uint8_t { level, edge };

// Receives the readiness of one Channel. Called on the loop's thread only.
class IoHandler {
 public:
  // `events` are epoll_wait(2)'s bits (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP). EPOLLERR
  // and EPOLLHUP come whether asked for or not; a handler that cannot use an event must change its
  // interest, or a level-triggered channel is reported again at once. The Channel, and any other,
  // may be removed or destroyed from inside. An exception leaves EventLoop::run().
  virtual void on_ready(std::uint32_t events) = 0;

  // The kernel refused the interest that was set (EPERM for a regular file, ENOSPC, ENOMEM, ...).
  // The channel is not watched until its interest is set again. Never called from inside a set
  // call.
  virtual void on_interest_refused(Errno error) = 0;

 protected:
  ~IoHandler() = default;
};

class Channel {
 public:
  Channel(EventLoop& loop, int fd, IoHandler& handler, Trigger trigger = Trigger::level);
  ~Channel() { remove(); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void set_reading(bool on) { set(kRead, on); }
  void set_writing(bool on) { set(kWrite, on); }
  bool reading() const { return (wanted_ & kRead) != 0; }
  bool writing() const { return (wanted_ & kWrite) != 0; }
  // From now on EPOLLERR and EPOLLHUP are reported also while neither reading nor writing is
  // wanted, each once when it happens, so that a handler which cannot use one may ignore it.
  void watch_errors() { set(kErrors, true); }
  // EPOLLEXCLUSIVE: of several loops that watch one descriptor, the kernel wakes few. Before the
  // first set_reading(); cannot be combined with writing.
  void set_exclusive();

  // Takes the descriptor out of epoll now and forgets it: no event of it is delivered any more, not
  // even one that the current batch already holds. Cannot be undone.
  void remove();
  bool removed() const { return removed_; }

  EventLoop& loop() const;
  int fd() const { return fd_; }
  // Identity on this loop: what epoll carries, and what a ConnectionRef holds. Names nothing any
  // more when the channel was removed.
  SlotId id() const { return id_; }

 private:
  friend class internal::LoopCore;
  friend class internal::EpollPoller;
  static constexpr std::uint8_t kRead = 1;
  static constexpr std::uint8_t kWrite = 2;
  static constexpr std::uint8_t kEdge = 4;
  static constexpr std::uint8_t kExclusive = 8;
  static constexpr std::uint8_t kErrors = 16;

  WEIR_HIDDEN Channel(internal::LoopCore& core, int fd, IoHandler& handler, Trigger trigger);
  void set(std::uint8_t bit, bool on);
  static std::uint32_t epoll_mask(std::uint8_t interest);  // 0: not registered

  internal::LoopCore* core_;
  IoHandler* handler_;
  SlotId id_;
  int fd_;
  std::uint8_t wanted_ = 0;
  std::uint8_t committed_ = 0;      // what epoll has of it; 0: it does not know the descriptor
  std::uint8_t requeued_ = 0;       // events that the loop's requeue list has for it; 0: not in it
  bool commit_queued_ : 1 = false;  // in the loop's list of interest changes
  bool removed_ : 1 = false;
};

}  // namespace weir
