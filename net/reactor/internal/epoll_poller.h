// EpollPoller: the epoll set of one loop. Internal to the reactor. [loop]
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

#include "weir/base/clock.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace weir {
class Channel;
}

namespace weir::internal {

class EpollPoller {
 public:
  // Ready descriptors taken from the kernel in one turn. At 512, epoll_wait costs 0.02 calls a
  // message with 10,000 busy connections, and a turn stays in the low milliseconds.
  static constexpr std::size_t kMaxEventsPerTurn = 512;

  static Result<EpollPoller> create();

  // Brings the kernel's mask to what the channel wants: ADD, MOD, DEL or no call at all. On error
  // the channel is left unregistered (nothing half-done) and the error is the kernel's.
  SysResult<void> commit(Channel& channel);
  // DEL now. A registration that the kernel keeps nevertheless shows up as an event of unknown
  // identity.
  void remove(Channel& channel);

  // Waits, for ever with Duration::max(), and keeps the batch. 0 events on timeout; EINTR is an
  // error value.
  SysResult<std::span<const epoll_event>> wait(Duration timeout);

  // Readable while wait() would find something, and the same descriptor for ever: an epoll set of
  // its own, made by the first call, that holds the one which reopen() replaces.
  SysResult<int> outer_fd();

  // A new, empty epoll set; the caller commits its channels again.
  SysResult<void> reopen();

  std::uint64_t control_calls() const { return control_calls_; }
  // This process is a fork of the one that made the set. The two share it, so nothing is changed in
  // it from here.
  bool forked() const;

 private:
  explicit EpollPoller(Fd epoll);
  SysResult<void> control(int operation, Channel& channel, std::uint32_t mask);

  Fd epoll_;
  Fd outer_;               // watches epoll_; mostly there is none
  std::uint32_t process_;  // that made epoll_, by generation
  std::uint64_t control_calls_ = 0;
  std::array<epoll_event, kMaxEventsPerTurn> events_{};
};

}  // namespace weir::internal
