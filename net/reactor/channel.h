// Channel: one file descriptor that one EventLoop watches. [loop]
//
// The Channel does not own the descriptor. Remove (or destroy) the Channel before closing the
// descriptor.
//
// The setters only record the interest; before the loop waits, it passes a change to the kernel
// with one epoll_ctl(2). So switching on and off within a turn costs no system call. Without
// interest the descriptor is removed from epoll, because EPOLLERR and EPOLLHUP cannot be masked;
// watch_errors() keeps it registered for these two.
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

// level: reported as long as the descriptor is ready. edge: reported when it becomes ready; the
// handler must read or write until EAGAIN (epoll(7)).
enum class Trigger : std::uint8_t { level, edge };

// Receives the events of one Channel. Called on the loop's thread only.
class IoHandler {
 public:
  // `events`: the bits of epoll_wait(2) (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP).
  // EPOLLERR and EPOLLHUP are reported with any interest. A handler that does not handle an event
  // must change its interest, or a level-triggered channel is reported again immediately. It may
  // remove or destroy this Channel and any other. An exception leaves EventLoop::run().
  virtual void on_ready(std::uint32_t events) = 0;

  // The kernel refused the interest that was set (EPERM for a regular file, ENOSPC, ENOMEM, ...).
  // The channel is not watched until its interest is set again. Never called inside a set call.
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
  // From now on EPOLLERR and EPOLLHUP are also reported while neither reading nor writing is set.
  // Each is then reported once when it happens, so that a handler may ignore it.
  void watch_errors() { set(kErrors, true); }
  // EPOLLEXCLUSIVE: if several loops watch one descriptor, the kernel wakes only one or a few of
  // them. Call it before the first set_reading(); it cannot be combined with writing.
  void set_exclusive();

  // Removes the descriptor from epoll now. No further event is delivered, not even one that the
  // current batch already has. Cannot be undone.
  void remove();
  bool removed() const { return removed_; }

  EventLoop& loop() const;
  int fd() const { return fd_; }
  // The id of the channel on its loop: epoll and ConnectionRef store it. It is invalid once the
  // channel was removed.
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
  std::uint8_t committed_ = 0;      // the interest that epoll has; 0: not registered
  std::uint8_t requeued_ = 0;       // its events in the loop's requeue list; 0: not in the list
  bool commit_queued_ : 1 = false;  // in the loop's list of interest changes
  bool removed_ : 1 = false;
};

}  // namespace weir
